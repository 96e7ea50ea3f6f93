"""`LmIndexer`: a language model learns to name items by codes from which their words can be restored (Jin et al., ICML 2024)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from recsmith.data import ItemCodes
from recsmith.errors import ArtifactError, DataError, UserError, import_extra
from recsmith.item_tokenizers.collisions import assign_new
from recsmith.item_tokenizers.plain import PlainConfig, PlainTokenizer
from recsmith.nn.quantizers import kmeans
from recsmith.nn.text_indexer import PackedTexts, TextIndexer, apart
from recsmith.protocols import Progress
from recsmith.runtime import Device, Runtime
from recsmith.seeding import derive_seed
from recsmith.tuning_language.words import END, learn_words

_AT_ONCE = 1_024
"""Texts that are read at a time outside training."""


class LmIndexerConfig(PlainConfig):
    """Settings of LMIndexer: of the codes, the language model, and its training."""

    levels: int = Field(3, ge=1, le=16)
    """Learned codes per item; the collision level comes on top."""
    size: int = Field(128, ge=2, le=65_536)
    """Codes per level; fewer when the catalogue has fewer than four items per code."""
    text: str = ""
    """What is read of an item, such as `{title}. {brand}`; empty reads the title, or all that describes an item without titles."""
    words: int = Field(2_000, ge=300)
    """Tokens of the vocabulary, at most; it is learned from the texts."""
    max_text: int = Field(24, ge=1)
    """Tokens of a text that are read."""
    dim: int = Field(64, ge=1)
    """Width of the embeddings and of all stacks."""
    heads: int = Field(4, ge=1)
    """Attention heads per layer."""
    head_dim: int = Field(16, ge=1)
    """Width of one head."""
    ff_dim: int = Field(128, ge=1)
    """Width of the feed-forward layers."""
    encoder_layers: int = Field(2, ge=1)
    """Layers of the encoder, which reads the text."""
    decoder_layers: int = Field(1, ge=1)
    """Layers of the decoder, which writes the codes."""
    restorer_layers: int = Field(1, ge=1)
    """Layers of the network that restores hidden words from the codes (paper: a shallow one, so that the codes have to say much)."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Probability of dropping a unit or an attention weight in training."""
    position_buckets: int = Field(32, ge=2)
    """Buckets of relative positions."""
    position_distance: int = Field(64, ge=2)
    """Distance, in tokens, from which on all positions share the last bucket."""
    hidden_share: float = Field(0.7, ge=0, lt=1)
    """Probability that a word is hidden and is to be restored."""
    warm_up_epochs: int = Field(4, ge=0)
    """Passes over the texts per level before its codes exist; k-means then starts them from the decoder's states."""
    epochs: int = Field(12, ge=1)
    """Passes over the texts per level with its codes."""
    batch_size: int = Field(128, ge=2)
    """Texts per step."""
    learning_rate: float = Field(2e-3, gt=0)
    """Of AdamW at the start of each level; falls to zero along a line."""
    contrast: float = Field(1.0, ge=0)
    """Weight of telling texts apart that share all codes before; with little of it, later codes repeat what the first one says."""
    temperature: float = Field(0.2, gt=0)
    """Divisor of the cosines in that contrast."""
    commitment: float = Field(1.0, ge=0)
    """Weight of keeping to the codes of the levels before."""
    device: Device = "auto"
    """Where to train: auto (CUDA where there is one), cpu or cuda."""

    @property
    def restoring(self) -> LmIndexerConfig:
        """Sizes of the restorer's stack."""
        return self.override(encoder_layers=self.restorer_layers)


class LmIndexer(PlainTokenizer):
    """Items → codes by their words alone (arXiv:2310.07815): a small encoder–decoder learns the codes level by level, self-supervised.

    For each level in turn, with the codes before fixed: the decoder's state picks a code, and a shallow network has to restore hidden words
    of the text from the codes so far and the words that are left. Two more terms: texts that share all codes before are told apart
    (contrast), and the codes before are to be written as they were (commitment). A level begins with a warm-up in which the state
    itself stands for the code; k-means on the states starts its codebook.

    Deviations: the language model and its vocabulary are learned from the catalogue's texts, where the paper starts from T5; a code is
    the one nearest to the state, where the paper takes the greatest inner product; the codes in use are those that the final model writes,
    so that new items follow the rule of the old ones; batches keep texts of equal codes together. Vectors are not looked at.
    """

    Config: ClassVar[type[PlainConfig]] = LmIndexerConfig

    _network: TextIndexer
    _words: Any

    def fit(self, vectors: np.ndarray, *, seed: int, progress: Progress | None = None) -> ItemCodes:
        """Codes of the bound items, by their texts; raises `DataError` where there are none."""
        self._progress = progress
        codes = super().fit(vectors, seed=seed, progress=progress)
        self._figures |= self._more
        return codes

    def _index(self, items: int, *, seed: int) -> tuple[np.ndarray, Sequence[int]]:
        texts = self._texts(items)
        if not items:
            raise DataError("vectors of shape (0, 0) are no items; give a catalogue with at least one")
        self._words = learn_words(texts, size=self.config.words)
        distinct = len(set(texts))
        size = min(self.config.size, distinct, max(2, items // 4))
        tokens, offsets = self._tokens(texts)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "lm-indexer"))
            self._network = self._made([size] * self.config.levels)
            fixed, restored = _Training(self._network, self.config, tokens, offsets, seed).run(self._progress)
        self._network.cpu().eval().requires_grad_(False)
        codes = self._codes(tokens, offsets)
        self._more = {
            "words": self._words.get_vocab_size(),
            "texts": distinct,
            "restoring_loss": restored,
            "kept": float((codes == fixed.cpu()).all(1).float().mean()),
        }
        return codes.numpy(), [size] * self.config.levels

    def _place(self, items: int, taken: ItemCodes) -> ItemCodes:
        """By their texts; an item whose codes are full goes on to those nearest to its last states."""
        tokens, offsets = self._tokens(self._texts(items))
        codes = self._codes(tokens, offsets)
        return assign_new(codes.numpy(), taken, alternatives=lambda row: self._nearest(tokens, offsets, codes[row : row + 1], row))

    def state(self) -> dict[str, np.ndarray]:
        """Sizes, figures and vocabulary (JSON, as bytes), and the weights of the language model."""
        weights = self._network.state_dict() if self._sizes else {}
        return {**super().state(), **{f"network.{name}": tensor.numpy().copy() for name, tensor in weights.items()}}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what `state` gave. Raises `ArtifactError` when something is missing."""
        super().load_state(state)
        network = self._made(self._sizes[:-1])
        stored = {name.removeprefix("network."): torch.from_numpy(np.array(array)) for name, array in state.items() if name != "content"}
        try:
            network.load_state_dict(stored)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise ArtifactError(f"the tokenizer's state does not fit its settings ({reason}); fit it again") from None
        self._network = network.eval().requires_grad_(False)

    def _learned(self) -> dict[str, Any]:
        return {"words": self._words.to_str()}

    def _restore(self, learned: Mapping[str, Any]) -> None:
        library = import_extra("tokenizers", extra="text", purpose="the words of LMIndexer")
        self._words = library.Tokenizer.from_str(learned["words"])

    # ---- inside ----

    def _made(self, sizes: Sequence[int]) -> TextIndexer:
        return TextIndexer(self.config, words=self._words.get_vocab_size(), sizes=sizes)

    def _texts(self, items: int) -> list[str]:
        """The words of each bound item."""
        if self._bound is None:
            raise UserError("LMIndexer reads the items' words; call bind(item_ids, catalogue) before fit or assign")
        ids, catalogue = self._bound
        if catalogue is None:
            raise DataError("LMIndexer reads the items' words, and there is no catalogue; give a folder with an items file")
        if len(ids) != items:
            raise UserError(f"{items} rows of vectors for {len(ids)} bound items; bind the items that the rows belong to")
        title = catalogue.title_column
        return self._told(ids, catalogue, self.config.text or (f"{{{title}}}" if title is not None else catalogue.default_template()))

    def _tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Tokens of all texts `[token]` and their offsets `[text + 1]`; a text without words is the end mark."""
        end = self._words.token_to_id(END)
        rows = [encoding.ids[: self.config.max_text] or [end] for encoding in self._words.encode_batch(list(texts))]
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
        return torch.tensor([token for row in rows for token in row]), torch.from_numpy(offsets.astype(np.int64))

    @torch.no_grad()
    def _codes(self, tokens: Tensor, offsets: Tensor) -> Tensor:
        """Codes that the model writes, int64 `[text, level]`."""
        return written_codes(self._network, tokens, offsets, len(self._network.codebooks))

    @torch.no_grad()
    def _nearest(self, tokens: Tensor, offsets: Tensor, codes: Tensor, row: int) -> Iterator[tuple[int, ...]]:
        """All codes for one text, its own first, then those that differ at the last level, nearest to its state first, ….

        The states of a level are those after its own codes.
        """
        texts, _ = PackedTexts.of(tokens, offsets, torch.tensor([row]))
        states = self._network.states(texts, codes[:, :-1])[0]
        likeness = [self._network.logits(state[None], level)[0] for level, state in enumerate(states)]
        return product(*(scores.argsort(descending=True, stable=True).tolist() for scores in likeness))


class _Training:
    """How the language model learns its codes, one level after the other."""

    def __init__(self, network: TextIndexer, config: LmIndexerConfig, tokens: Tensor, offsets: Tensor, seed: int) -> None:
        self.network, self.config, self.seed = network, config, seed
        self.device = Runtime.choose(config.device, "fp32").device
        self.tokens, self.offsets = tokens.to(self.device), offsets.to(self.device)
        self.codes = torch.zeros(len(offsets) - 1, 0, dtype=torch.int64, device=self.device)
        self.restored = 0.0

    def run(self, progress: Progress | None) -> tuple[Tensor, float]:
        """Codes as they were fixed level by level, int64 `[text, level]`, and the last mean loss of restoring."""
        network, settings = self.network.to(self.device).train(), self.config
        passes = settings.warm_up_epochs + settings.epochs
        for level, codebook in enumerate(network.codebooks):
            optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate)
            schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, total_iters=passes)
            for epoch in range(passes):
                if epoch == settings.warm_up_epochs:
                    states = self._states(level)
                    seed = derive_seed(self.seed, "lm-indexer", level) >> 1
                    codebook.data.copy_(kmeans(states, len(codebook), seed=seed)[0])
                self._epoch(level, optimizer, coded=epoch >= settings.warm_up_epochs)
                schedule.step()
                if progress is not None:
                    progress("training LMIndexer", level * passes + epoch + 1, passes * len(network.codebooks))
            with torch.no_grad():
                code = network.eval().logits(self._states(level), level).argmax(1)
            network.train()
            self.codes = torch.cat([self.codes, code[:, None]], 1)
        return self.codes, self.restored

    def _epoch(self, level: int, optimizer: torch.optim.Optimizer, *, coded: bool) -> None:
        losses = []
        for rows in self._batches():
            texts, rows = PackedTexts.of(self.tokens, self.offsets, rows)
            before = self.codes[rows]
            states = self.network.states(texts, before)
            own = self.network.written(states[:, level], level) if coded else states[:, level]
            names = [self.network.codebooks[earlier][column] for earlier, column in enumerate(before.T)]
            restored = self.network.restoring_loss(texts, torch.stack([*names, own], 1), self.config.hidden_share)
            loss = restored + self.config.contrast * apart(states[:, level], before, self.config.temperature)
            for earlier, column in enumerate(before.T):
                loss = loss + self.config.commitment * F.cross_entropy(self.network.logits(states[:, earlier], earlier), column)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            optimizer.step()
            losses.append(restored.item())
        self.restored = float(np.mean(losses))

    def _batches(self) -> Sequence[Tensor]:
        """Texts in random order, those of the same codes next to each other; batches in random order."""
        order = torch.randperm(len(self.codes), device=self.device)
        if self.codes.shape[1]:
            group = torch.unique(self.codes, dim=0, return_inverse=True)[1]
            shuffled = torch.randperm(int(group.max()) + 1, device=self.device)[group]
            order = order[shuffled[order].argsort(stable=True)]
        parts = order.split(self.config.batch_size)
        return [parts[place] for place in torch.randperm(len(parts)).tolist()]

    @torch.no_grad()
    def _states(self, level: int) -> Tensor:
        """The state before the code of `level` of every text, `[text, dim]`."""
        found = torch.empty(len(self.codes), self.config.dim, device=self.device)
        for part in torch.arange(len(self.codes), device=self.device).split(_AT_ONCE):
            texts, rows = PackedTexts.of(self.tokens, self.offsets, part)
            found[rows] = self.network.states(texts, self.codes[rows, :level])[:, level]
        return found


def written_codes(network: TextIndexer, tokens: Tensor, offsets: Tensor, levels: int) -> Tensor:
    """The codes that `network` writes for packed texts, each given those before it, int64 `[text, level]`."""
    codes = torch.zeros(len(offsets) - 1, levels, dtype=torch.int64)
    for part in torch.arange(len(codes)).split(_AT_ONCE):
        texts, rows = PackedTexts.of(tokens, offsets, part)
        for level in range(levels):
            states = network.states(texts, codes[rows, :level])
            codes[rows, level] = network.logits(states[:, level], level).argmax(1)
    return codes
