"""MINT: a retriever for requests told at length, trained on requests that a language model wrote (Mysore et al., RecSys 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.encoders import EncoderConfig, encode_texts
from recsmith.errors import UserError
from recsmith.nn.dropout import Dropout
from recsmith.nn.item_vectors import ItemVectors, KeptTable
from recsmith.nn.losses import fused_cross_entropy
from recsmith.nn.packed import row_ids, tail_index
from recsmith.nn.poly_attention import LateTable
from recsmith.nn.pooling import row_mean
from recsmith.protocols import HistoryBatch


class MintConfig(Config):
    """Size of the towers, and which items are believed to answer a request."""

    dim: int = Field(64, ge=1)
    """Width in which requests and items meet."""
    hidden: int = Field(128, ge=1)
    """Width of the towers' hidden layer."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of values dropped in the towers."""
    kept: float = Field(0.7, gt=0, le=1)
    """Share of a person's items, those nearest to their request, that count as answers to it."""
    temperature: float = Field(0.07, gt=0)
    """Divisor of the cosines."""
    encoder: EncoderConfig = EncoderConfig()
    """What encodes people's own words; the recipe's [encoder], which must not be tfidf for this."""
    max_history: int = Field(50, ge=1)
    """Events of a history that are read, counted from its end."""


class Mint(nn.Module):
    """Scores an item by the cosine of its tower's vector with that of a request: a person's own words, else the request written about them,
    else the mean of the texts of what they took.

    Paper: "Large language model augmented narrative driven recommendations". `recsmith write mint` writes requests from histories; of a
    person's items those that fit the request least are dropped, and the rest are its answers in a contrastive training of two towers.
    `score_told` answers people's own words.

    Deviations from the paper: towers over frozen text vectors, no tuned MPNet, and no cross-encoder behind them (`retrieval` has one); the
    fit of request and item is their cosine, the paper's is a language model's likelihood; in half of the training rows the history asks in
    the place of the request, so that people without one are answered.
    """

    Config: ClassVar[type[MintConfig]] = MintConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"
    reads: ClassVar[tuple[str, ...]] = ("vectors", "people")
    inductive: ClassVar[bool] = True
    reads_words: ClassVar[bool] = True

    def __init__(self, config: MintConfig, *, items: int, vectors: np.ndarray) -> None:
        super().__init__()
        self.config = config
        self.texts = ItemVectors(vectors)
        self.requests = LateTable(self.texts.dim)
        self.ask, self.answer = self._tower(), self._tower()
        self._table = KeptTable(self, lambda: F.normalize(self.answer(self.texts.values), dim=1))

    def read_people(self, vectors: np.ndarray) -> None:
        """Take in the vectors of the requests."""
        self.requests.set(vectors)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Cross-entropy of the believed answers among all items, the request or the history asking; 0 without events."""
        table = F.normalize(self.answer(self.texts.values), dim=1)
        kept, offsets = tail_index(batch.offsets, tokens=len(batch.items), length=self.config.max_history)
        if not len(kept):
            return table.sum() * 0
        items, rows = batch.items[kept], row_ids(offsets, tokens=len(kept))
        requests = self.requests(batch.users, len(batch))
        by_history = ~requests.any(1) | (torch.rand(len(requests), device=requests.device) < 0.5)
        believed = self.believed(items, offsets, requests) | by_history[rows]
        sums, others = self._sums(items, offsets)[rows] - self.texts(items), (offsets.diff()[rows] - 1).clamp(min=1)
        asked = torch.where(by_history[rows, None], sums / others[:, None], requests[rows])[believed]
        return fused_cross_entropy(F.normalize(self.ask(asked), dim=1) / self.config.temperature, table, items[believed])

    def score(self, batch: HistoryBatch) -> Tensor:
        """Cosines over the temperature, `[batch, item]`."""
        requests = self.requests(batch.users, len(batch))
        kept, offsets = tail_index(batch.offsets, tokens=len(batch.items), length=self.config.max_history)
        history = row_mean(self.texts(batch.items[kept]), offsets)
        return self._scores(torch.where(requests.any(1, keepdim=True), requests, history))

    def score_told(self, batch: HistoryBatch, words: Sequence[str]) -> Tensor:
        """As `score`, but those who say something in their own words are answered by that. Raises `UserError` for tfidf vectors."""
        scores = self.score(batch)
        told = [row for row, text in enumerate(words) if text.strip()]
        if not told:
            return scores
        vectors = encode_texts([words[row] for row in told], self.config.encoder, side="queries").vectors
        if self.config.encoder.name == "tfidf" or vectors.shape[1] != self.texts.dim:
            raise UserError(
                f"words were encoded by `{self.config.encoder.name}`, items by another; give the recipe's [encoder] under model.encoder, "
                "any but tfidf"
            )
        scores[told] = self._scores(torch.from_numpy(vectors).to(scores.device)).to(scores.dtype)
        return scores

    def believed(self, items: Tensor, offsets: Tensor, requests: Tensor) -> Tensor:
        """Which events are taken for answers to their row's request: the share `kept` nearest to it, at least one; bool `[token]`."""
        rows = row_ids(offsets, tokens=len(items))
        fits = (F.normalize(self.texts(items), dim=1) * requests[rows]).sum(1)
        order = torch.argsort(fits, descending=True, stable=True)
        order = order[torch.argsort(rows[order], stable=True)]
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order), device=order.device) - offsets[:-1][rows[order]]
        return rank < (offsets.diff()[rows] * self.config.kept).ceil()

    def _scores(self, asked: Tensor) -> Tensor:
        return F.normalize(self.ask(asked), dim=1) @ self._table().T / self.config.temperature

    def _sums(self, items: Tensor, offsets: Tensor) -> Tensor:
        return row_mean(self.texts(items), offsets) * offsets.diff()[:, None]

    def _tower(self) -> nn.Sequential:
        config = self.config
        return nn.Sequential(
            nn.Linear(self.texts.dim, config.hidden), nn.GELU(), Dropout(config.dropout), nn.Linear(config.hidden, config.dim)
        )
