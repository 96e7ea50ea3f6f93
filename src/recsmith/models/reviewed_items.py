"""Reviewed-item retrieval: items found by what people wrote about them, one question or several aspects of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.data import Histories, TrainingReviews
from recsmith.encoders import EncoderConfig, encode_texts
from recsmith.encoders.text import resolved_name
from recsmith.errors import DataError, UserError
from recsmith.language.asker import Asker
from recsmith.language.backends import BackendConfig
from recsmith.language.budget import Budget
from recsmith.language.completion import Backend
from recsmith.language.making import make_asker
from recsmith.language.request_aspects import request_aspects
from recsmith.nn.grouped_members import best_of_groups, group_slots
from recsmith.nn.history_weights import recency_weights, weighted_sum
from recsmith.nn.item_vectors import KeptTable
from recsmith.nn.losses import fused_cross_entropy
from recsmith.nn.packed import offsets_from, row_ids, tail_index
from recsmith.protocols import HistoryBatch
from recsmith.seeding import generator

_CELLS = 1 << 24
"""Most values of reviews held at a time."""
_TABLES = ("vectors", "owners", "slots", "head")


class ReviewedItemsConfig(Config):
    """Which reviews count, what is asked of them, and how the encoder is tuned on them."""

    encoder: EncoderConfig = EncoderConfig()
    """What encodes reviews, items' words and people's own words."""
    asks: Literal["whole", "aspects"] = "whole"
    """whole: one question, a fading mean of the history or all of a person's words; aspects: each event or part of the words by itself."""
    fusion: Literal["mean", "least"] = "mean"
    """How the answers to aspects combine: their mean, or the worst of them (an item must please in all)."""
    best: int = Field(3, ge=1)
    """Reviews of an item that count, those nearest to the question."""
    reviews: int = Field(20, ge=2)
    """Most reviews of an item that are read, drawn by `seed`."""
    fade: float = Field(0.8, ge=0, le=1)
    """whole: weight of an event relative to the event after it; 1: all alike, 0: the last event alone."""
    max_history: int = Field(10, ge=1)
    """Events of a history that are asked about, counted from its end."""
    temperature: float = Field(0.07, gt=0)
    """Divisor of the cosines in the loss; smaller is sharper."""
    aspects: int = Field(5, ge=1)
    """Most aspects of a person's words."""
    backend: BackendConfig = BackendConfig()
    """Language model that takes people's words apart; none: punctuation and words such as "and" do, offline."""
    budget: Budget = Budget()
    """What it may spend."""
    cache: str | None = None
    """File that keeps its answers (SQLite); None: `answers.sqlite` in `$RECSMITH_CACHE` or `~/.cache/recsmith`."""
    seed: int = 0
    """Seed of the draw of reviews."""


class ReviewedItems(nn.Module):
    """Scores an item by the mean cosine of its `best` reviews nearest to the question, and not by one vector of all its reviews.

    Papers: Abdollah Pour et al., "Self-supervised contrastive BERT fine-tuning for fusion-based reviewed-item retrieval" (ECIR 2023,
    arXiv:2301.06268): two reviews of one item are to find each other among those of other items. Korikov et al., "Multi-aspect
    reviewed-item retrieval via LLM query decomposition and aspect fusion" (2024): `asks = "aspects"`, each asked apart, the answers fused.

    A history asks by the mean of the reviews of what somebody took; `score_told` asks by people's own words. Only reviews of training
    events are read; an item without any stands with its own words instead.

    Deviations: a linear layer over frozen vectors is tuned, not the encoder; the other items of a batch are the only negatives; the papers
    answer requests in words, here histories ask too, and each of their events is an aspect.
    """

    Config: ClassVar[type[ReviewedItemsConfig]] = ReviewedItemsConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"
    reads: ClassVar[tuple[str, ...]] = ("texts", "reviews")
    reads_words: ClassVar[bool] = True

    vectors: Tensor
    owners: Tensor
    slots: Tensor

    def __init__(self, config: ReviewedItemsConfig, *, items: int, backend: Backend | None = None) -> None:
        """`backend` takes the place of the one that the config names."""
        super().__init__()
        self.config, self.items = config, items
        self.register_buffer("vectors", torch.zeros(0, 0))
        self.register_buffer("owners", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("slots", torch.zeros(0, 0, dtype=torch.int64))
        self.head = nn.Parameter(torch.zeros(0, 0))
        self._words: list[str] = []
        self._encoder = self.config.encoder.name
        self._backend = backend
        self._asker: Asker | None = None
        self._table = KeptTable(self, lambda: self._moved(self.vectors))
        self._portraits = KeptTable(self, self._means)

    # ---- reading ----

    def read(self, texts: Sequence[str]) -> None:
        """The items' own words, one text per item; `read_reviews` comes next."""
        if len(texts) != self.items:
            raise ValueError(f"{self.items} items have {len(texts)} texts")
        self._words = list(texts)

    def read_reviews(self, reviews: TrainingReviews) -> None:
        """Encode the reviews of training events, at most `reviews` of an item, and the words of items that have none."""
        order = generator(self.config.seed, "reviews").permutation(len(reviews))
        order = order[np.argsort(reviews.items[order], kind="stable")]
        items, first = np.unique(reviews.items[order], return_index=True)
        place = np.arange(len(order)) - first[np.searchsorted(items, reviews.items[order])]
        chosen = order[place < self.config.reviews]
        silent = np.setdiff1d(np.arange(self.items), items)
        texts = [*(reviews.texts[review] for review in chosen), *(self._words[item] for item in silent)]
        encoded = encode_texts(texts, self.config.encoder)
        self._encoder = encoded.encoder_name
        self.take(encoded.vectors, np.concatenate([reviews.items[chosen], silent]))

    def take(self, vectors: np.ndarray, owners: np.ndarray) -> None:
        """Reviews as vectors, float32 `[review, dim]`, and the item of each, int64 `[review]`; replaces what was read before."""
        device = self.head.device
        self.vectors = F.normalize(torch.as_tensor(vectors, dtype=torch.float32), dim=1).to(device)
        self.owners = torch.as_tensor(owners, dtype=torch.int64).to(device)
        self.slots = group_slots(self.owners, self.items)
        self.head = nn.Parameter(torch.zeros(vectors.shape[1], vectors.shape[1], device=device))

    def observe(self, histories: Histories) -> None:
        """Nothing but a look at whether there are reviews. Raises `DataError` when there are none."""
        if not len(self.vectors):
            raise DataError(
                "reviewed-item retrieval needs reviews of training events, and there are none; give data with a table of reviews"
            )

    def figures(self) -> dict[str, Any]:
        """What was read by which encoder, and what taking people's words apart has cost; no language model has a part in other lists."""
        counts = (self.slots >= 0).sum(1)
        read = {"encoder": self._encoder, "texts": len(self.vectors), "items with two or more": int((counts > 1).sum())}
        return read if self._asker is None else {**read, "requests": self._asker.figures()}

    # ---- learning and answering ----

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Cross-entropy of one review of an item finding another among those of the batch's items; 0 without items of two reviews."""
        items = batch.items.unique()
        items = items[(self.slots[items] >= 0).sum(1) > 1]
        if not len(items):
            return self.head.sum() * 0
        slots = self.slots[items]
        drawn = torch.rand(slots.shape, device=slots.device).masked_fill(slots < 0, 2.0).argsort(1)[:, :2]
        one, other = (self._moved(self.vectors[review]) for review in slots.gather(1, drawn).T)
        return fused_cross_entropy(one / self.config.temperature, other, torch.arange(len(items), device=one.device))

    def score(self, batch: HistoryBatch) -> Tensor:
        """Mean cosines `[batch, item]`; 0 for rows without events."""
        kept, offsets = tail_index(batch.offsets, tokens=len(batch.items), length=self.config.max_history)
        portraits = self._portraits()[batch.items[kept]]
        if self.config.asks == "aspects":
            return self._answers(F.normalize(portraits, dim=1), offsets)
        weights = recency_weights(offsets, tokens=len(kept), fade=self.config.fade)
        whole = F.normalize(weighted_sum(portraits, weights, offsets), dim=1)
        return self._answers(whole, torch.arange(len(batch) + 1, device=whole.device))

    def score_told(self, batch: HistoryBatch, words: Sequence[str]) -> Tensor:
        """As `score`, but those who say something in their own words are answered by that. Raises `UserError` for tfidf vectors."""
        scores = self.score(batch)
        told = [row for row, text in enumerate(words) if text.strip()]
        if not told:
            return scores
        if resolved_name(self.config.encoder.name) == "tfidf":
            raise UserError(
                "tfidf vectors of reviews cannot be asked in words; fit with another encoder, such as model.encoder.name=minilm"
            )
        parts = self._parts([words[row] for row in told])
        asked = encode_texts([part for row in parts for part in row], self.config.encoder, side="queries").vectors
        offsets = offsets_from(torch.tensor([len(row) for row in parts], device=scores.device))
        scores[told] = self._answers(self._moved(torch.from_numpy(asked).to(scores.device)), offsets)
        return scores

    # ---- inside ----

    def _parts(self, requests: list[str]) -> list[list[str]]:
        if self.config.asks == "whole":
            return [[text] for text in requests]
        if self._asker is None:
            self._asker = make_asker(self.config.backend, budget=self.config.budget, cache=self.config.cache, backend=self._backend)
        return request_aspects(requests, self._asker, most=self.config.aspects)

    def _answers(self, questions: Tensor, offsets: Tensor) -> Tensor:
        """Scores `[row, item]` of rows with any number of questions `[question, dim]`; 0 where there is none."""
        rows, counts = row_ids(offsets, tokens=len(questions)), offsets.diff()[:, None]
        least = self.config.fusion == "least"
        scores = questions.new_full((len(offsets) - 1, self.items), torch.inf if least else 0.0)
        table, portion = self._table(), max(1, _CELLS // max(self.slots.numel(), len(self.vectors), 1))
        for start in range(0, len(questions), portion):
            some = slice(start, start + portion)
            found = best_of_groups(questions[some] @ table.T, self.slots, self.config.best)
            if least:
                scores.scatter_reduce_(0, rows[some, None].expand_as(found), found, "amin")
            else:
                scores.index_add_(0, rows[some], found)
        return torch.where(counts > 0, scores if least else scores / counts.clamp(min=1), 0.0)

    def _moved(self, vectors: Tensor) -> Tensor:
        """Vectors as the tuned layer turns them, of length 1; before training as they are."""
        return F.normalize(vectors + vectors @ self.head, dim=1)

    def _means(self) -> Tensor:
        """The mean of each item's reviews, `[item, dim]`."""
        table = self._table()
        sums = table.new_zeros(self.items, table.shape[1]).index_add(0, self.owners, table)
        return sums / torch.bincount(self.owners, minlength=self.items).clamp(min=1)[:, None]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """How many reviews there are is known only to the file: take its sizes before its values."""
        for name in _TABLES:
            stored = state_dict.get(prefix + name)
            if stored is not None:
                empty = getattr(self, name).new_zeros(stored.shape)
                setattr(self, name, nn.Parameter(empty) if name == "head" else empty)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
