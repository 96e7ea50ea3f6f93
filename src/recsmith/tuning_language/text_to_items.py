"""`TextToItems`: one language model for several tasks in words, whose answers may be items: what P5, OpenP5 and LC-Rec share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.data import Histories, ItemCodes, TrainingReviews
from recsmith.decoding.adapters import CausalCodes, EncoderDecoderCodes
from recsmith.errors import ConfigError, DataError, UserError, suggestion
from recsmith.language.untrusted import plain_line
from recsmith.nn.quantised_linear import weight_count
from recsmith.nn.text_table import TextTable
from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.network import LanguageNetwork, NetworkConfig, Pair
from recsmith.tuning_language.tasks import Case, Family, TaskTemplate, TextPair, load_tasks
from recsmith.tuning_language.tuner import TunerConfig, learning
from recsmith.tuning_language.wording import Wording

_MOST_RATINGS = 20
"""Different ratings up to which each is a word of its own."""


class TextToItemsConfig(Config):
    """Settings that the models of this kind share."""

    network: NetworkConfig = NetworkConfig()
    """The language model: a small one of one's own, or a folder."""
    tuner: TunerConfig = TunerConfig()
    """What of it learns."""
    tasks: str = "p5"
    """Task set: a name that comes with the library, or the path of a .toml file."""
    mix: dict[Family, float] = {"sequential": 0.75, "direct": 3.0, "rating": 2.0, "explanation": 0.25, "review": 0.12}
    """Examples of each task family per history of a batch; families without data are left out and named in the card."""
    answers_by: Literal["sequential", "direct"] = "sequential"
    """Which family answers with lists: sequential (reads the history) or direct (knows who it is, nothing else)."""
    max_history: int = Field(20, ge=1)
    """Most recent items that a question tells."""
    max_text: int = Field(64, ge=4)
    """Tokens of a review or another text, at most; what is longer is cut."""
    max_title: int = Field(24, ge=2)
    """Tokens of an item's words, at most."""
    user_tokens: int = Field(10_000, ge=0)
    """Tokens for people, at most; beyond that, several share one; 0 = everybody is a stranger."""
    strangers: float = Field(0.1, ge=0, le=1)
    """Probability in training that a question does not say who asks, so that strangers are met there too."""


class TextToItems(nn.Module):
    """A language model trained on task texts. Items are generated as their codes, each code a token; decoding keeps to the catalogue.

    Where codes are words (item tokenizers `title`, `numeric`, `idgenrec`), a code is the same token wherever it stands, in a folder's model
    starts from the vectors of the words that it spells, and code 0 ends an item.
    """

    Config: ClassVar[type[TextToItemsConfig]] = TextToItemsConfig
    answers: ClassVar[Literal["codes"]] = "codes"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    item_codes: Tensor

    def __init__(self, config: Any, *, codes: ItemCodes) -> None:
        super().__init__()
        self.config = config
        self.task_set = load_tasks(config.tasks)
        self._families = _checked_mix(config, self.task_set.families)
        self.sizes = tuple(int(size) for size in codes.sizes)
        self._words = codes.words
        used = max([1, *(1 + level for level in range(codes.levels) if (codes.table[:, level] > 0).any())])
        self._levels = min(used + 1, codes.levels) if codes.words else used
        self.register_buffer("item_codes", torch.as_tensor(codes.table, dtype=torch.int64).clone())
        self.network = self.make_network()
        self._reviews: TrainingReviews | None = None
        self.table = TextTable()
        self._loaded = False
        self._ratings: list[float] = []
        self._people = 0
        self._spoken: Wording | None = None
        if config.network.folder is None:
            self._make()

    # ---- what it is told before it learns ----

    def read(self, texts: Sequence[str]) -> None:
        """The items' own words, one text per item."""
        if len(texts) != len(self.item_codes):
            raise ValueError(f"{len(self.item_codes)} items have {len(texts)} texts")
        self.table = TextTable([plain_line(text) for text in texts])

    def read_reviews(self, reviews: TrainingReviews) -> None:
        """Reviews of training events."""
        self._reviews = reviews

    def observe(self, histories: Histories) -> None:
        """Which ratings there are, and how many people; then the language model is made, so texts and reviews are to be read before.

        A model whose weights were loaded keeps its language model: people that it does not know share the tokens of others.
        """
        if self._loaded:
            return
        weights = np.zeros(0) if histories.weights is None else np.unique(histories.weights.astype(np.float64))
        self._ratings = weights.tolist() if 2 <= len(weights) <= _MOST_RATINGS else []
        self._people = min(self.config.user_tokens, len(histories))
        self._make()

    def _make(self) -> None:
        reviews = self._reviews
        told = [] if reviews is None else [*reviews.texts, *reviews.aspects, *reviews.summaries]
        texts = [*self.task_set.words(), *self.table.texts, *told, *self.own_words(), *(f" {rating:g}" for rating in self._ratings)]
        notes = {"ratings": self._ratings, "people": self._people, "trained": self.trained_families()}
        self.network.make(texts, extra=Wording.extra(self._codes(), self._people) + self.extra_tokens(), notes=notes, tune=False)
        if self._words and self.config.network.folder is not None:
            self.network.start_extra([self.network.tokens(word) for word in self._words])
        self.network.tune()
        self._spoken = None

    def make_network(self) -> LanguageNetwork:
        """The language model, not made yet."""
        return LanguageNetwork(self.config.network, self.config.tuner)

    def own_words(self) -> list[str]:
        """Further texts that the tokenizer should know."""
        return []

    def extra_tokens(self) -> int:
        """Tokens needed besides those of words, codes and people."""
        return 0

    def trained_families(self) -> list[Family]:
        """Task families for which there are data."""
        reviews = self._reviews
        reviewed = reviews is not None and len(reviews) > 0
        there = {
            "rating": bool(self._ratings),
            "explanation": reviewed,
            "review": reviewed,
            "rationale": reviewed,
            "alignment": len(self.table) > 0,
        }
        return [family for family in self._families if there.get(family, True)]

    # ---- learning ----

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean over the task families of the cross-entropy per token of their answers; 0 when there is nothing to learn from."""
        batch = batch.known()
        random = np.random.default_rng(int(torch.randint(2**62, ()).item()))
        losses = []
        for family in self.network.facts["notes"]["trained"]:
            pairs = self._pairs(family, batch, random)
            if pairs:
                losses.append(self.network.loss(pairs))
        return torch.stack(losses).mean() if losses else self.network.loss([])

    def _pairs(self, family: Family, batch: HistoryBatch, random: np.random.Generator) -> list[Pair]:
        wanted = self.config.mix[family] * len(batch)
        count = int(wanted) + int(random.random() < wanted % 1)
        return [self.wording.pair(template, case) for template, case in self.draw(family, batch, count, random)]

    def draw(self, family: Family, batch: HistoryBatch, count: int, random: np.random.Generator) -> Iterator[tuple[TaskTemplate, Case]]:
        """`count` questions of a family about random events of the batch (explanation and review: about random reviews)."""
        if family in ("explanation", "review", "rationale"):
            cases = self._about_reviews(family, count, random)
        elif family == "alignment":
            cases = (Case(item=int(item)) for item in random.integers(0, len(self.item_codes), count))
        else:
            cases = self._about_events(family, batch, count, random)
        for case in cases:
            fitting = [one for one in self.task_set.of(family) if all(self._is_told(name, case) for name in one.fields)]
            if fitting:
                yield fitting[random.integers(len(fitting))], case

    def examples(self, batch: HistoryBatch, *, seed: int = 0) -> Iterator[TextPair]:
        """The training pairs that one step would draw from these histories, as texts with their provenance."""
        random = np.random.default_rng(seed)
        for family in self.network.facts["notes"]["trained"]:
            for template, case in self.draw(family, batch.known(), round(self.config.mix[family] * len(batch)), random):
                yield self.wording.shown(template, case)

    def _about_events(self, family: Family, batch: HistoryBatch, count: int, random: np.random.Generator) -> Iterator[Case]:
        items, offsets = batch.items.tolist(), batch.offsets.cpu().numpy()
        users = None if batch.users is None else batch.users.tolist()
        weights = None if batch.weights is None else batch.weights.tolist()
        if not items or (family == "rating" and weights is None):
            return
        for event in random.integers(0, len(items), count).tolist():
            row = int(np.searchsorted(offsets, event, side="right")) - 1
            known = users is not None and random.random() >= self.config.strangers
            history = items[max(int(offsets[row]), event - self.config.max_history) : event]
            words = {} if weights is None else {"rating": f"{weights[event]:g}"}
            yield Case(users[row] if known and users else -1, items[event], history, words=words)

    def _about_reviews(self, family: Family, count: int, random: np.random.Generator) -> Iterator[Case]:
        reviews = self._reviews
        if reviews is None:
            return
        for number in random.integers(0, len(reviews), count).tolist():
            rating = reviews.ratings[number]
            words = {"review": reviews.texts[number], "aspect": reviews.aspects[number], "summary": reviews.summaries[number]}
            words |= {} if np.isnan(rating) else {"rating": f"{rating:g}"}
            yield Case(int(reviews.users[number]), int(reviews.items[number]), words=words)

    def _is_told(self, name: str, case: Case) -> bool:
        if name in ("title", "titles"):
            return len(self.table) > 0
        return name in ("user", "item", "history", "masked", "pair") or bool(case.words.get(name))

    # ---- items ----

    def answering(self, family: Literal["sequential", "direct"]) -> Self:
        """The same model, its lists answered by another family. Raises `UserError` for a family without template."""
        if not self.task_set.of(family):
            raise UserError(f"the tasks `{self.config.tasks}` have no family `{family}`; {suggestion(family, self.task_set.families)}")
        other = copy(self)
        other.config = self.config.override(answers_by=family)
        return other

    def prefill(self, batch: HistoryBatch) -> Any:
        """Ask the question of each row; the state holds the language model's own."""
        batch = batch.known()
        codes, tokens = self._codes(), self.wording.code_tokens
        make = EncoderDecoderCodes if self.network.reads_first else CausalCodes
        inner = make(self.network.model, codes, tokens, prompt=self._prompt, ends=bool(self._words))
        return inner, inner.prefill(batch)

    def step(self, state: Any, level: int, parents: Tensor | None, last: Tensor | None) -> tuple[Tensor, Any]:
        """Logits over the codes of `level`; a last level that tells nothing apart costs nothing."""
        inner, own = state
        if level >= self._levels:
            assert last is not None
            return last.new_zeros(*last.shape, self.sizes[level], dtype=torch.float32), state
        logits, own = inner.step(own, level, parents, last)
        return logits.float(), (inner, own)

    def questions(self, batch: HistoryBatch) -> list[list[int]]:
        """Tokens of what each row is asked."""
        template = self.task_set.of(self.config.answers_by)[0]
        return [self.wording.tokens(template.input, case) for case in self.cases(batch)]

    def cases(self, batch: HistoryBatch) -> list[Case]:
        """One case per row: who, and the last items."""
        items, offsets = batch.items.tolist(), batch.offsets.tolist()
        users = [-1] * len(batch) if batch.users is None else batch.users.tolist()
        most = self.config.max_history
        return [Case(user, -1, items[max(start, end - most) : end]) for user, start, end in zip(users, offsets, offsets[1:])]

    def _prompt(self, batch: HistoryBatch) -> tuple[Tensor, Tensor]:
        return self.network.padded(self.questions(batch))

    # ---- words ----

    def rate(self, batch: HistoryBatch, items: Sequence[int]) -> Tensor:
        """The rating that each row's person is expected to give to the item, float32 `[row]`; `DataError` without trained ratings."""
        ratings = self._known_ratings()
        template = self._template("rating", "rating")
        cases = [Case(case.user, int(item), case.history) for case, item in zip(self.cases(batch.known()), items, strict=True)]
        return self._expected([self.wording.tokens(template.input, case) for case in cases], ratings)

    def stars_of(self, reviews: Sequence[str]) -> Tensor:
        """The rating that each review is expected to come with, float32 `[review]`."""
        ratings = self._known_ratings()
        template = self._template("review", "rating")
        return self._expected([self.wording.tokens(template.input, Case(words={"review": text})) for text in _told(reviews)], ratings)

    def summarise(self, reviews: Sequence[str]) -> list[str]:
        """A short form of each review."""
        template = self._template("review", "summary")
        return self._written([self.wording.tokens(template.input, Case(words={"review": text})) for text in _told(reviews)])

    def explain(
        self, users: Sequence[int], items: Sequence[int], ratings: Sequence[float], aspects: Sequence[str] | None = None
    ) -> list[str]:
        """Why each person (index, -1 for a stranger) gives the item these stars, about an aspect where one is named."""
        template = self._template("explanation", "review", asked="aspect" if aspects is not None else None)
        cases = [
            Case(int(user), int(item), words={"rating": f"{rating:g}", "aspect": aspect})
            for user, item, rating, aspect in zip(users, items, ratings, aspects or [""] * len(items), strict=True)
        ]
        return self._written([self.wording.tokens(template.input, case) for case in cases])

    def figures(self) -> dict[str, Any]:
        """Which language model it is, what of it learns, and which task families had data."""
        trained = self.network.facts["notes"]["trained"]
        kind = self.config.network.folder or f"own {self.config.network.kind}"
        return {
            "backend": f"{kind}, {weight_count(self.network):,} weights",
            "tuned": self.config.tuner.method,
            "weights that learn": sum(learning(self.network).values()),
            "words": self.network.word_count,
            "tasks": self.config.tasks,
            "families": trained,
            "families without data": [family for family in self._families if family not in trained],
        }

    @property
    def wording(self) -> Wording:
        """What stands for what, as the network is now."""
        if self._spoken is None or self._spoken.network is not self.network:
            people = int(self.network.facts["notes"]["people"])
            config = self.config
            self._spoken = self.new_wording(people=people, titles=self.table.texts, max_text=config.max_text, max_title=config.max_title)
        return self._spoken

    def new_wording(self, **parts: Any) -> Wording:
        """What stands for what, for a network that has just been made or loaded."""
        return Wording(self.network, self._codes(), **parts)

    def _expected(self, inputs: Sequence[list[int]], ratings: Sequence[float]) -> Tensor:
        choices = [self.network.tokens(f"{rating:g}") for rating in ratings]
        values = torch.tensor(ratings, dtype=torch.float32, device=self.network.device)
        with torch.no_grad():
            parts = [self.network.choose(inputs[start : start + 256], choices) @ values for start in range(0, len(inputs), 256)]
        return torch.cat(parts) if parts else values.new_zeros(0)

    def _written(self, inputs: Sequence[list[int]]) -> list[str]:
        rows = [
            row
            for start in range(0, len(inputs), 256)
            for row in self.network.write(inputs[start : start + 256], longest=self.config.max_text)
        ]
        return [self.network.text(row) for row in rows]

    def _known_ratings(self) -> list[float]:
        ratings: list[float] = self.network.facts["notes"]["ratings"]
        if not ratings:
            raise DataError(f"this model has learned no ratings: its data had none, or more than {_MOST_RATINGS} different ones")
        return ratings

    def _template(self, family: Family, answer: str, *, asked: str | None = None) -> TaskTemplate:
        fitting = [one for one in self.task_set.of(family) if one.target == f"{{{answer}}}" and (asked in one.fields or asked is None)]
        if not fitting or family not in self.network.facts["notes"]["trained"]:
            raise DataError(f"this model has not learned the task `{family}`: its data had no texts for it; fit it on data with reviews")
        return fitting[0]

    def _codes(self) -> ItemCodes:
        """The items' codes without last levels that tell nothing apart."""
        return ItemCodes(self.item_codes[:, : self._levels].cpu().numpy(), self.sizes[: self._levels], self._words)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        self._spoken, self._loaded = None, f"{prefix}network.description" in state_dict
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _checked_mix(config: TextToItemsConfig, families: Sequence[Family]) -> list[Family]:
    """The families to be trained, in the order of the task set. Raises `ConfigError` where the answering one is missing."""
    chosen = [family for family in families if config.mix.get(family, 0) > 0]
    if config.answers_by not in chosen:
        raise ConfigError(
            f"lists are answered by `{config.answers_by}`, which is not trained; give it a share in `mix` and a template in "
            f"`{config.tasks}`"
        )
    return chosen


def _told(texts: Sequence[str]) -> list[str]:
    empty = [place for place, text in enumerate(texts) if not text.strip()]
    if empty:
        raise UserError(f"text {empty[0]} is empty; give texts with at least one word")
    return list(texts)
