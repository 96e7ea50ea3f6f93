"""IDGenRec: ids in words, written by a language model that learns what helps a recommender (Tan et al., SIGIR 2024)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from recsmith.data import Histories, ItemCodes
from recsmith.errors import ArtifactError, ConfigError
from recsmith.item_tokenizers.plain import ObservingTokenizer, PlainConfig
from recsmith.item_tokenizers.spelled import END, Row, SpelledTokenizer
from recsmith.language.untrusted import plain_line
from recsmith.protocols import Progress
from recsmith.tuning_language.id_writer import IdWriter
from recsmith.tuning_language.network import LanguageNetwork, NetworkConfig
from recsmith.tuning_language.pieces import spelling
from recsmith.tuning_language.tuner import TunerConfig

_WEIGHTS = "writer."
_TOLD = "Taken:"
_IGNORED = -100


class IdGenRecConfig(PlainConfig):
    """Settings of IDGenRec's ids."""

    network: NetworkConfig = NetworkConfig(words=2000)
    """The language model that both writer and recommender start from: a small one of one's own, or a folder; decoder-only."""
    text: str | None = None
    """Template of the text that an id is written from, such as "{title}. {description}"; None takes the catalogue's default."""
    longest: int = Field(6, ge=2, le=32)
    """Tokens of an id, at most."""
    longest_text: int = Field(48, ge=4)
    """Tokens that are read of an item's text."""
    tags: int = Field(3, ge=1)
    """Own model: words of a text, those that fewest texts have, that the writer learns to write first."""
    tag_steps: int = Field(150, ge=0)
    """Own model: optimiser steps of that."""
    rounds: int = Field(2, ge=0)
    """Times that recommender and writer learn in turn."""
    recommender_steps: int = Field(100, ge=1)
    """Optimiser steps of the recommender in a round; the ids stand still."""
    writer_steps: int = Field(30, ge=1)
    """Optimiser steps of the writer in a round; the recommender stands still."""
    batch_size: int = Field(32, ge=1)
    """Texts or histories of a step."""
    learning_rate: float = Field(3e-3, gt=0)
    """First step size of the recommender and of the tags; it falls linearly."""
    writer_learning_rate: float = Field(1e-3, gt=0)
    """First step size of the writer in a round."""
    max_history: int = Field(8, ge=2)
    """Most recent items of a history that the recommender reads here."""
    beams: int = Field(4, ge=1)
    """Candidates of an id that are written at first; twice as many at each further attempt."""
    diversity: float = Field(1.0, ge=0)
    """What a token costs a candidate for each earlier candidate that has it at the same place, in nats; more at further attempts."""
    attempts: int = Field(3, ge=1)
    """Times that ids are written until each is alone; then a number tells items apart."""


class IdGenRecCodes(SpelledTokenizer, ObservingTokenizer):
    """Short, unique ids in words of the item's text, by a writer and a recommender over its ids that learn in turn.

    Paper: "IDGenRec: LLM-RecSys alignment with textual ID learning" (SIGIR 2024). In a round the recommender learns histories told in
    ids; then it stands still, the writer's probabilities (mixed vectors of the words that it might have written) take the place of the
    ids of the history, and the recommender's loss on the next items teaches the writer; then all ids are written anew by diverse beam
    search. The model of the recipe learns over the last ids. New items are called by the same writer, which is the paper's zero-shot case.

    Deviations: decoder-only; the recommender inside is one of its own, the one that answers starts afresh; a writer of one's own learns
    the rarest words of each text first, in place of a hub's tag generator; ids take their words from the item's own text.
    """

    Config: ClassVar[type[PlainConfig]] = IdGenRecConfig

    _writer: LanguageNetwork
    _story: list[dict[str, float]]

    def fit(self, vectors: np.ndarray, *, seed: int, progress: Progress | None = None) -> ItemCodes:
        """Ids of the bound items; `progress` is told of the rounds."""
        self._progress = progress
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(seed)
            codes = super().fit(vectors, seed=seed)
        self._figures |= {"rounds": self._story, "examples": codes.spelled()[:5]}
        return codes

    def _learn(self, items: int, *, seed: int) -> None:
        """Rounds of learning; leaves the writer and, in `_ids`, its last ids."""
        histories, texts = self._observed(items), self._texts(items)
        words = [*texts, *IdWriter.phrases(), _TOLD]
        writer, reader = (_made(self.config.network, words) for _ in range(2))
        self._writer, self._story = writer, []
        ids = self._id_writer(texts)
        if self.config.network.folder is None and self.config.tag_steps:
            pairs = ids.tags(most=self.config.tags)
            self._descend(
                writer, self.config.tag_steps, self.config.learning_rate, lambda chosen: writer.loss([pairs[i] for i in chosen]), items
            )
        self._ids, _ = self._write(ids, set())
        lessons = lessons_of(histories, self.config.max_history)
        for number in range(self.config.rounds if lessons else 0):
            if self._progress is not None:
                self._progress("id rounds", number, self.config.rounds)
            self._round(ids, reader, lessons)
        if self._progress is not None:
            self._progress("id rounds", self.config.rounds, self.config.rounds)

    def _round(self, writer: IdWriter, reader: LanguageNetwork, lessons: Sequence[np.ndarray]) -> None:
        config = self.config
        ask = reader.tokens(_TOLD)

        def read(chosen: Sequence[int]) -> Tensor:
            return reader.loss([(ask, [token for item in lessons[i] for token in (*self._ids[item], reader.end)]) for i in chosen])

        def write(chosen: Sequence[int]) -> Tensor:
            return soft_loss(writer, reader, [lessons[i].tolist() for i in chosen], self._ids, ask=ask)

        read_losses = self._descend(reader, config.recommender_steps, config.learning_rate, read, len(lessons))
        reader.requires_grad_(False).eval()
        write_losses = self._descend(writer.network, config.writer_steps, config.writer_learning_rate, write, len(lessons))
        reader.requires_grad_(True)
        before = self._ids
        self._ids, alone = self._write(writer, set())
        self._story.append(
            {
                "recommender loss": float(np.mean(read_losses[-10:])),
                "writer loss, first": float(np.mean(write_losses[:5])),
                "writer loss, last": float(np.mean(write_losses[-5:])),
                "ids rewritten": float(np.mean([one != other for one, other in zip(before, self._ids, strict=True)])),
                "alone without a number": alone,
            }
        )

    def _write(self, writer: IdWriter, used: set[Row]) -> tuple[list[Row], float]:
        """Ids as tokens, and the share of them that nobody else has."""
        config = self.config
        ids = writer.distinct(groups=config.beams, penalty=config.diversity, attempts=config.attempts, used=used)
        return ids, len(set(ids)) / max(1, len(ids))

    def _descend(
        self, network: LanguageNetwork, steps: int, learning_rate: float, loss: Callable[[Sequence[int]], Tensor], count: int
    ) -> list[float]:
        """`steps` optimiser steps on random examples of `count`; the loss of each."""
        optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, total_iters=steps)
        network.train()
        losses = []
        for _ in range(steps):
            found = loss(torch.randint(count, (self.config.batch_size,)).tolist())
            optimizer.zero_grad(set_to_none=True)
            found.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            losses.append(found.item())
        network.eval()
        return losses

    # ---- what a tokenizer of words says ----

    def _written(self, items: int) -> list[Row]:
        return [self._coded(row) for row in self._ids]

    def _place(self, items: int, taken: ItemCodes) -> ItemCodes:
        book = self._book
        used = {tuple(book[code - 1] for code in row if code != END) for row in taken.table[:, :-1].tolist()}
        ids, _ = self._write(self._id_writer(self._texts(items)), used)
        return self._placed([self._coded(row) for row in ids], taken)

    def _words(self) -> tuple[str, ...]:
        return ("", *(spelling(self._writer.tokenizer, token) for token in self._book))

    def _number(self, number: int) -> Row:
        return self._coded(self._writer.tokens(f" {number}"))

    @property
    def _book(self) -> list[int]:
        """The token of each code from 1 on."""
        return [token for token in range(self._writer.word_count) if token not in (self._writer.facts["pad"], self._writer.end)]

    def _coded(self, tokens: Sequence[int]) -> Row:
        left_out = sorted({int(self._writer.facts["pad"]), self._writer.end})
        return tuple(token + 1 - sum(one < token for one in left_out) for token in tokens)

    def _texts(self, items: int) -> list[str]:
        _, catalogue = self._items(items)
        template = self.config.text or (None if catalogue is None else catalogue.default_template())
        return [plain_line(text) for text in self._item_texts(items, template, what="ids in words")]

    def _id_writer(self, texts: Sequence[str]) -> IdWriter:
        return IdWriter(self._writer, texts, longest=self.config.longest, longest_text=self.config.longest_text)

    # ---- what it keeps ----

    def state(self) -> dict[str, np.ndarray]:
        """What every plain tokenizer keeps, and the writer's weights."""
        weights = {f"{_WEIGHTS}{name}": tensor.cpu().numpy() for name, tensor in self._writer.state_dict().items()}
        return {**super().state(), **weights}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what `state` gave. Raises `ArtifactError` when it is missing."""
        weights = {name.removeprefix(_WEIGHTS): torch.from_numpy(np.array(one)) for name, one in state.items() if name.startswith(_WEIGHTS)}
        if not weights:
            raise ArtifactError("the tokenizer's state lacks the weights of its writer; fit it again")
        self._writer = LanguageNetwork(self.config.network, TunerConfig())
        self._writer.load_state_dict(weights)
        self._writer.eval()
        super().load_state(state)


def soft_loss(
    writer: IdWriter, reader: LanguageNetwork, lessons: Sequence[Sequence[int]], ids: Sequence[Row], *, ask: Sequence[int]
) -> Tensor:
    """The reader's mean cross-entropy per token of the ids of a history, when what came before is told in the writer's words.

    In place of each token of an id before the last one stands the mean of the word vectors, weighted by how likely the writer is to write
    each; gradients reach the writer alone where the reader's weights take none.
    """
    items = sorted({item for lesson in lessons for item in lesson[:-1]})
    firsts = dict(zip(items, np.cumsum([0, *(len(ids[item]) for item in items)]).tolist()))
    rows, places, shares = [], [], []
    for number, lesson in enumerate(lessons):
        row = list(ask)
        for position, item in enumerate(lesson):
            if position < len(lesson) - 1:
                places += [(number, len(row) + place) for place in range(len(ids[item]))]
                shares += [firsts[item] + place for place in range(len(ids[item]))]
            row += [*ids[item], reader.end]
        rows.append(row)
    padded, real = reader.padded(rows)
    table = reader.model.get_input_embeddings()
    mixed = writer.shares(items, [ids[item] for item in items]) @ table.weight[: reader.word_count]
    where = torch.tensor(places, device=padded.device).unbind(dim=1)
    embedded = table(padded).index_put(where, mixed[torch.tensor(shares, device=padded.device)].to(table.weight.dtype))
    logits = reader.model(inputs_embeds=embedded, attention_mask=real.long()).logits[:, :-1].float()
    wanted = padded.masked_fill(~real, _IGNORED)
    wanted[:, : len(ask)] = _IGNORED
    return functional.cross_entropy(logits.flatten(0, 1), wanted[:, 1:].flatten(), ignore_index=_IGNORED)


def _made(config: NetworkConfig, texts: Sequence[str]) -> LanguageNetwork:
    """A language model for these texts. Raises `ConfigError` for an encoder–decoder."""
    network = LanguageNetwork(config, TunerConfig())
    network.make(texts)
    if network.reads_first:
        raise ConfigError(
            "IDGenRec's ids need a decoder-only language model; set `tokenizer.network.kind` to causal or give another folder"
        )
    return network


def lessons_of(histories: Histories, longest: int) -> list[np.ndarray]:
    """The last `longest` known items of each history with at least two."""
    rows = (histories.row(user) for user in range(len(histories)))
    known = (row[row >= 0][-longest:] for row in rows)
    return [row for row in known if len(row) > 1]
