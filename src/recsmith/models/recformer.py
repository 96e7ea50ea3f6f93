"""Recformer: histories and items as sentences of their attributes' words, read by one language model (Li et al., KDD 2023).

"Text is all you need: learning language representations for sequential recommendation".
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.errors import DataError
from recsmith.nn.attention import SelfAttention, TransformerBlock
from recsmith.nn.dropout import Dropout
from recsmith.nn.item_vectors import KeptTable
from recsmith.nn.losses import fused_cross_entropy
from recsmith.nn.next_step import random_prefixes
from recsmith.nn.packed import Plan, offsets_from, positions, row_ids, tail_index
from recsmith.nn.poly_attention import LateTable, with_start
from recsmith.nn.text_table import TextTable
from recsmith.protocols import HistoryBatch

_WORD = re.compile(r"(\w+)(:?)")
_WHOLE, _MASK, _FIRST = 0, 1, 2
_KEY, _VALUE = 1, 2
_AT_ONCE = 1024


class RecformerConfig(Config):
    """Size, sentences and objective of Recformer; the defaults fit two CPU cores."""

    dim: int = Field(64, ge=1)
    """Width of words and states; a multiple of `heads`."""
    layers: int = Field(2, ge=1)
    """Transformer blocks."""
    heads: int = Field(4, ge=1)
    """Attention heads."""
    hidden: int = Field(128, ge=1)
    """Width of the feed-forward layers."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of values dropped in the input and the parts of each block."""
    window: int = Field(24, ge=1)
    """Words to either side that a word sees; the mark at the beginning sees and is seen by all."""
    words: int = Field(8192, ge=16)
    """Places for words, which fall into them by their hash."""
    max_words: int = Field(12, ge=1)
    """Words of an item's sentence that are read."""
    max_history: int = Field(15, ge=1)
    """Events of a history that are read, counted from its end."""
    objective: Literal["pretrain", "finetune"] = "pretrain"
    """pretrain: masked words, and the next item among those of the batch; finetune: the next item among all, in two stages."""
    mask_share: float = Field(0.15, gt=0, lt=1)
    """pretrain: share of the words that are masked."""
    mask_weight: float = Field(0.1, ge=0)
    """pretrain: weight of telling masked words beside finding the next item."""
    refresh: int = Field(100, ge=1)
    """finetune, stage one: optimiser steps after which the items are encoded anew; no gradient reaches them."""
    second_stage: int = Field(2000, ge=1)
    """finetune: optimiser steps after which the items stay as they are and histories alone go on learning."""
    temperature: float = Field(0.05, gt=0)
    """Divisor of the cosines."""


class WindowAttention(SelfAttention):
    """Attention to what is near; the first token of a row sees all and is seen by all (Beltagy et al., 2020: Longformer)."""

    def __init__(self, *, dim: int, heads: int, window: int) -> None:
        super().__init__(dim=dim, heads=heads)
        self.window = window

    def _unseen(self, plan: Plan, number: int) -> Tensor:
        padding = ~plan.mask(number)[:, None, None, :]
        places = torch.arange(padding.shape[3], device=padding.device)
        far = ((places[:, None] - places).abs() > self.window) & (places[:, None] > 0) & (places > 0)
        return padding | far


@dataclass(frozen=True)
class Sentences:
    """The words of each item: `words` and `kinds` (key or value) int64 `[item, word]`, and how many count, int64 `[item]`."""

    words: Tensor
    kinds: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, texts: Sequence[str], *, size: int, longest: int) -> Sentences:
        """A word before a colon is a key, all others are values; a text without a key is a title."""
        rows = [_WORD.findall(text if re.search(r"\w:", text) else f"title: {text}")[:longest] for text in texts]
        words, kinds = (torch.zeros(len(rows), longest, dtype=torch.int64) for _ in range(2))
        for number, row in enumerate(rows):
            words[number, : len(row)] = torch.tensor([_FIRST + zlib.crc32(word.casefold().encode()) % (size - _FIRST) for word, _ in row])
            kinds[number, : len(row)] = torch.tensor([_KEY if colon else _VALUE for _, colon in row])
        return cls(words, kinds, torch.tensor([len(row) for row in rows]))


class Recformer(nn.Module):
    """Scores an item by the cosine between the state of its own sentence and that of the history's, the latest item first.

    No weight belongs to an item: words, their kinds (attribute names or values), their places and the places of their items have vectors.
    Pre-train with the default objective, then fine-tune (`start.run`, `objective = "finetune"`): stage one learns against items that are
    encoded anew from time to time, stage two against items that stay as they are.

    Deviations from the paper: trained from scratch on the data at hand at a laptop's size, where the paper starts from Longformer and seven
    domains; words by hash, not word pieces; a random place of each history is predicted; stage two begins after a number of steps, not when
    stage one stops improving. Attribute names are words before a colon: `--set text="title: {title} genres: {genres}"`.
    """

    Config: ClassVar[type[RecformerConfig]] = RecformerConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"
    reads: ClassVar[tuple[str, ...]] = ("texts",)
    inductive: ClassVar[bool] = True

    def __init__(self, config: RecformerConfig, *, items: int) -> None:
        super().__init__()
        self.config, self.items = config, items
        self.table = TextTable()
        self.words = nn.Embedding(config.words, config.dim)
        self.kinds = nn.Embedding(3, config.dim)
        self.places = nn.Embedding(config.max_history * config.max_words + 1, config.dim)
        self.events = nn.Embedding(config.max_history + 1, config.dim)
        self.norm = nn.LayerNorm(config.dim)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(
                dim=config.dim,
                heads=config.heads,
                hidden=config.hidden,
                dropout=config.dropout,
                norm="post",
                attention=WindowAttention(dim=config.dim, heads=config.heads, window=config.window),
            )
            for _ in range(config.layers)
        )
        self.tell = nn.Linear(config.dim, config.dim)
        for part in (self.words, self.kinds, self.places, self.events):
            nn.init.normal_(part.weight, std=0.05)
        self.passing, self.fixed = LateTable(config.dim), LateTable(config.dim)
        self._all_items = KeptTable(self, self._encoded_items)
        self._known: tuple[object, Sentences] | None = None

    def read(self, texts: Sequence[str]) -> None:
        """The items' own words, one text per item; stored with the weights."""
        if len(texts) != self.items:
            raise ValueError(f"{self.items} items have {len(texts)} texts")
        self.table = TextTable(texts).to(self.norm.weight.device)

    def figures(self) -> dict[str, Any]:
        """How many words the items have, and which stage has been reached."""
        stage = "two" if len(self.fixed.values) else "one"
        return {"backend": "own words", "words of all items": int(self._sentences().lengths.sum()), "stage": stage}

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """The objective of the config for a random event of each row; 0 for a batch without events."""
        targets, before, offsets = random_prefixes(batch.offsets, tokens=len(batch.items), longest=self.config.max_history)
        if not len(targets):
            return self.norm.weight.sum() * 0
        if self.config.objective == "finetune":
            asked = self._sharp(self._read(batch.items[before], offsets)[0])
            return fused_cross_entropy(asked, self._fixed_items(step), batch.items[targets])
        states, told = self._read(batch.items[before], offsets, masked=self.config.mask_share)
        present, place = batch.items[targets].unique(return_inverse=True)
        own = F.normalize(self._encode(present).float(), dim=1)
        return fused_cross_entropy(self._sharp(states), own, place) + self.config.mask_weight * told

    def score(self, batch: HistoryBatch) -> Tensor:
        """Cosines over the temperature, `[batch, item]`."""
        kept, offsets = tail_index(batch.offsets, tokens=len(batch.items), length=self.config.max_history)
        table = self.fixed.values if len(self.fixed.values) == self.items else self._all_items()
        if not len(batch):
            return table.new_zeros(0, self.items)
        return self._sharp(self._read(batch.items[kept], offsets)[0]) @ table.T

    def _read(self, items: Tensor, offsets: Tensor, *, masked: float = 0.0) -> tuple[Tensor, Tensor]:
        """States of the marks before rows of items, the latest item first, `[row, dim]`; and the loss of telling masked words."""
        sentences, rows = self._sentences(), row_ids(offsets, tokens=len(items))
        items = items[offsets[1:][rows] - 1 - positions(offsets, tokens=len(items))]
        counts = sentences.lengths[items]
        event = torch.arange(len(items), device=items.device).repeat_interleave(counts)
        inside = torch.arange(len(event), device=items.device) - (counts.cumsum(0) - counts)[event]
        words, kinds = sentences.words[items[event], inside], sentences.kinds[items[event], inside]
        lengths = counts.new_zeros(len(offsets) - 1).index_add(0, rows, counts)
        words_offsets = offsets_from(lengths)
        hidden = torch.rand(len(words), device=words.device) < masked
        place = positions(words_offsets, tokens=len(words)) + 1
        number = positions(offsets, tokens=len(items))[event] + 1
        vectors = self.words(torch.where(hidden, _MASK, words)) + self.kinds(kinds) + self.places(place) + self.events(number)
        mark = self.words.weight[_WHOLE] + self.kinds.weight[0] + self.places.weight[0] + self.events.weight[0]
        states, marked = with_start(vectors, words_offsets, mark)
        states, plan = self.dropout(self.norm(states)), Plan.of(marked)
        for block in self.blocks:
            states = block(states, plan)
        if not hidden.any():
            return states[marked[:-1]], states.sum() * 0
        at = (marked[:-1][rows[event]] + place)[hidden]
        return states[marked[:-1]], fused_cross_entropy(self.tell(states[at]), self.words.weight, words[hidden])

    def _encode(self, items: Tensor) -> Tensor:
        """States of the items' own sentences, `[item, dim]`."""
        return self._read(items, torch.arange(len(items) + 1, device=items.device))[0]

    def _encoded_items(self) -> Tensor:
        parts = torch.arange(self.items, device=self.norm.weight.device).split(_AT_ONCE)
        return F.normalize(torch.cat([self._encode(part) for part in parts]).float(), dim=1)

    @torch.no_grad()
    def _fixed_items(self, step: int) -> Tensor:
        """Items without gradient: encoded anew from time to time, and in stage two as they were when it began."""
        if step >= self.config.second_stage and len(self.fixed.values) != self.items:
            self.fixed.values = self._still(self._encoded_items)
        if len(self.fixed.values) == self.items:
            return self.fixed.values
        if len(self.passing.values) != self.items or step % self.config.refresh == 0:
            self.passing.values = self._still(self._encoded_items)
        return self.passing.values

    def _still(self, work: Any) -> Tensor:
        """The work done without dropout."""
        training = self.training
        self.eval()
        found: Tensor = work()
        self.train(training)
        return found

    def _sentences(self) -> Sentences:
        texts, device = self.table.texts, self.norm.weight.device
        if len(texts) != self.items:
            raise DataError("Recformer has read no item texts; fit it on data with a catalogue that has titles")
        if self._known is None or self._known[0] is not texts or self._known[1].words.device != device:
            made = Sentences.of(texts, size=self.config.words, longest=self.config.max_words)
            self._known = (texts, Sentences(made.words.to(device), made.kinds.to(device), made.lengths.to(device)))
        return self._known[1]

    def _sharp(self, states: Tensor) -> Tensor:
        return F.normalize(states.float(), dim=1) / self.config.temperature
