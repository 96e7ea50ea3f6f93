"""RLMRec: graph collaborative filtering aligned with language vectors (Ren et al., WWW 2024, arXiv:2310.15950)."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.data import Histories
from recsmith.nn.bags import distinct
from recsmith.nn.graph import InteractionGraph, propagate_to_row
from recsmith.nn.item_vectors import ItemVectors, KeptTable
from recsmith.nn.losses import fused_cross_entropy
from recsmith.nn.packed import row_ids, tail_index
from recsmith.nn.pooling import row_mean
from recsmith.protocols import HistoryBatch


class RlmrecConfig(Config):
    """Size and alignment of RLMRec."""

    dim: int = Field(64, ge=1)
    """Width of the representations."""
    layers: int = Field(3, ge=0)
    """Steps over the graph; the representations of all steps are averaged."""
    align: Literal["contrastive", "generative", "none"] = "contrastive"
    """contrastive: representations meet their texts' images; generative: texts are told of items that are masked; none: LightGCN."""
    weight: float = Field(0.01, ge=0)
    """Weight of the alignment beside the ranking loss."""
    temperature: float = Field(0.2, gt=0)
    """Divisor of the cosines in the alignment; smaller is sharper."""
    mask_share: float = Field(0.1, gt=0, lt=1)
    """generative: share of the items whose own vector is masked."""
    max_history: int = Field(500, ge=1)
    """Events of a history that are read, counted from its end."""


class Rlmrec(nn.Module):
    """Scores an item by the inner product of its representation with the person's, both by LightGCN over learned item vectors.

    The ranking loss is BPR; the alignment pulls the representations of the batch's items and people towards a network's images of their
    text vectors, against those of the others of the batch (RLMRec-Con), or has a network tell masked items' texts from their
    representations (RLMRec-Gen). Texts are read in training only.

    Deviations from the paper: people are read from their histories and have no vectors of their own, so their text is the mean of their
    items' texts where the paper asks a language model for a profile; an event is predicted from the person's other events, since without
    a vector of the person's own it would predict itself; one negative per event; the backbone is LightGCN.
    """

    Config: ClassVar[type[Config]] = RlmrecConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"
    reads: ClassVar[tuple[str, ...]] = ("vectors",)

    def __init__(self, config: RlmrecConfig, *, items: int, vectors: np.ndarray) -> None:
        super().__init__()
        self.config = config
        self.texts = ItemVectors(vectors)
        self.items = nn.Embedding(items, config.dim)
        nn.init.normal_(self.items.weight, std=0.1)
        widths = (self.texts.dim, config.dim) if config.align == "contrastive" else (config.dim, self.texts.dim)
        self.network = nn.Sequential(nn.Linear(widths[0], sum(widths) // 2), nn.LeakyReLU(), nn.Linear(sum(widths) // 2, widths[1]))
        self.mask = nn.Parameter(torch.zeros(config.dim))
        self.graph = InteractionGraph()
        self._tables = KeptTable(self, lambda: self._item_tables(self.items.weight))

    def observe(self, histories: Histories) -> None:
        """Take the graph from the training histories (row = person)."""
        self.graph.set(torch.from_numpy(histories.values.copy()), torch.from_numpy(histories.offsets.copy()))

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """BPR over the batch's events plus the weighted alignment; 0 for a batch without events."""
        items, offsets = self._items(batch)
        tables = self._item_tables(self.items.weight)
        if not len(items):
            return tables.sum() * 0
        represented, people = tables.mean(0), self._people(items, offsets, tables)
        negatives = represented[torch.randint(len(represented), (len(items),), device=items.device)]
        without = self._without_own(people, items, offsets, tables)
        ranking = -F.logsigmoid((without * (represented[items] - negatives)).sum(1)).mean()
        if self.config.align == "none":
            return ranking
        if self.config.align == "generative":
            return ranking + self.config.weight * self._generated(items.unique())
        present, filled = items.unique(), offsets.diff() > 0
        texts = row_mean(self.texts(items), offsets)[filled]
        aligned = self._contrast(represented[present], self.network(self.texts(present)))
        return ranking + self.config.weight * (aligned + self._contrast(people[filled], self.network(texts)))

    def score(self, batch: HistoryBatch) -> Tensor:
        """Scores `[batch, item]`."""
        return self.queries(batch) @ self.answer_vectors()[0].T

    def queries(self, batch: HistoryBatch) -> Tensor:
        """People whose inner products with `answer_vectors` are the scores, `[batch, dim]`."""
        return self._people(*self._items(batch), self._tables())

    def answer_vectors(self) -> tuple[Tensor, None]:
        """Item vectors `[item, dim]`; there is no bias."""
        return self._tables().mean(0), None

    def _contrast(self, first: Tensor, second: Tensor) -> Tensor:
        """Cross-entropy of finding each row's partner among all partners."""
        sharp = F.normalize(first.float(), dim=1) / self.config.temperature
        return fused_cross_entropy(sharp, F.normalize(second.float(), dim=1), torch.arange(len(first), device=first.device))

    def _generated(self, present: Tensor) -> Tensor:
        """Mask some items' own vectors and tell their texts from what the graph says of them."""
        masked = torch.rand(len(self.items.weight), device=present.device) < self.config.mask_share
        masked[present[torch.randint(len(present), (1,), device=present.device)]] = True  # at least one
        tables = self._item_tables(torch.where(masked[:, None], self.mask, self.items.weight))
        chosen = present[masked[present]]
        return self._contrast(self.network(tables.mean(0)[chosen]), self.texts(chosen))

    def _items(self, batch: HistoryBatch) -> tuple[Tensor, Tensor]:
        """Each row's distinct items among its last events, packed."""
        kept, offsets = tail_index(batch.offsets, tokens=len(batch.items), length=self.config.max_history)
        return distinct(batch.items[kept], offsets, size=len(self.items.weight))

    def _item_tables(self, start: Tensor) -> Tensor:
        """The items after 0 … `layers` steps over the graph from `start`, `[step, item, dim]`."""
        with torch.autocast(start.device.type, enabled=False):
            return self.graph.steps(start, self.graph.mean_of_items(start), layers=self.config.layers)

    def _people(self, items: Tensor, offsets: Tensor, tables: Tensor) -> Tensor:
        """The people behind packed rows, `[batch, dim]`."""
        degrees = self.graph.degrees(tables.shape[1])
        steps = [row_mean(tables[0][items], offsets)]
        steps += [propagate_to_row(table, items, offsets, degrees) for table in tables[: self.config.layers]]
        return torch.stack(steps).mean(0)

    def _without_own(self, people: Tensor, items: Tensor, offsets: Tensor, tables: Tensor) -> Tensor:
        """For each event the person as its other events make them, `[token, dim]`."""
        rows, lengths = row_ids(offsets, tokens=len(items)), offsets.diff().float()
        count = lengths[rows][:, None]
        means = row_mean(tables[0][items], offsets)[rows]
        weights = (count[:, 0] * self.graph.degrees(tables.shape[1])[items]).rsqrt()
        received = (tables[: self.config.layers, items] * weights[:, None]).sum(0)
        mean_of_others = (means * count - tables[0][items]) / (count - 1).clamp(min=1)
        return people[rows] + (mean_of_others - means - received) / (self.config.layers + 1)
