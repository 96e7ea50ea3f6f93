"""AlphaRec: language vectors of items, a small network, and graph propagation, with nothing learned per item (Sheng et al., ICLR 2025)."""

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
from recsmith.nn.packed import row_ids, tail_index
from recsmith.nn.pooling import row_mean
from recsmith.protocols import HistoryBatch


class AlpharecConfig(Config):
    """Size and sharpness of AlphaRec."""

    items: Literal["texts", "ids"] = "texts"
    """What an item starts as: the network's image of its text, or a learned vector of its own (the twin that knows no texts)."""
    dim: int = Field(64, ge=1)
    """Width of the representations."""
    hidden: int = Field(192, ge=1)
    """Width of the network's hidden layer (paper: half of the text vectors')."""
    layers: int = Field(2, ge=0)
    """Steps over the graph; the representations of all steps are averaged."""
    temperature: float = Field(0.15, gt=0)
    """Divisor of the cosines in the loss; smaller is sharper."""
    negatives: int = Field(256, ge=1)
    """Items drawn against each event."""
    max_history: int = Field(500, ge=1)
    """Events of a history that are read, counted from its end."""


class Alpharec(nn.Module):
    """Scores an item by the cosine between its representation and the person's.

    An item starts as the network's image of its text vector and a person as that of the mean text vector of their items; both then go
    over the graph of the training histories (LightGCN: He et al., SIGIR 2020). A person is always read from the history, so strangers are
    answered like everybody else, and items without an event are scored by what the network makes of their text. `observe` sets the graph
    before training.

    Paper: "Language representations can be what recommenders need", arXiv:2407.05441. Deviations: a person's representation is
    computed from the row at hand, which after an event outside of training differs from the graph's; negatives are shared by the
    events of a batch; the events of a batch are those of its people, not a sample of all events.
    """

    Config: ClassVar[type[Config]] = AlpharecConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"
    reads: ClassVar[tuple[str, ...]] = ("vectors",)

    def __init__(self, config: AlpharecConfig, *, items: int, vectors: np.ndarray) -> None:
        super().__init__()
        self.config = config
        self.texts = ItemVectors(vectors)
        self.ids = nn.Embedding(items, config.dim) if config.items == "ids" else None
        if self.ids is not None:
            nn.init.normal_(self.ids.weight, std=0.1)
        self.network = nn.Sequential(nn.Linear(self.texts.dim, config.hidden), nn.LeakyReLU(), nn.Linear(config.hidden, config.dim))
        self.graph = InteractionGraph()
        self._tables = KeptTable(self, self._item_tables)

    @property
    def inductive(self) -> bool:
        """Whether no weight belongs to a single item."""
        return self.ids is None

    def observe(self, histories: Histories) -> None:
        """Take the graph from the training histories (row = person)."""
        self.graph.set(torch.from_numpy(histories.values.copy()), torch.from_numpy(histories.offsets.copy()))

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean over the batch's events of the cross-entropy of the event against drawn items; 0 for a batch without events."""
        tables = self._item_tables()
        items, offsets = self._items(batch)
        if not len(items):
            return tables.sum() * 0
        people = F.normalize(self._people(items, offsets, tables), dim=1)[row_ids(offsets, tokens=len(items))]
        represented = F.normalize(tables.mean(0), dim=1)
        drawn = torch.randint(len(represented), (self.config.negatives,), device=items.device)
        positive = (people * represented[items]).sum(1, keepdim=True)
        against = (people @ represented[drawn].T).masked_fill(drawn == items[:, None], -torch.inf)
        return F.cross_entropy(torch.cat([positive, against], 1).float() / self.config.temperature, torch.zeros_like(items))

    def score(self, batch: HistoryBatch) -> Tensor:
        """Cosines `[batch, item]`, 0 for empty rows."""
        return self.queries(batch) @ self.answer_vectors()[0].T

    def queries(self, batch: HistoryBatch) -> Tensor:
        """People whose inner products with `answer_vectors` are the scores, `[batch, dim]`."""
        people = F.normalize(self._people(*self._items(batch), self._tables()), dim=1)
        return people * (batch.offsets.diff() > 0)[:, None]

    def answer_vectors(self) -> tuple[Tensor, None]:
        """Item vectors of length 1, `[item, dim]`; there is no bias."""
        return F.normalize(self._tables().mean(0), dim=1), None

    def _items(self, batch: HistoryBatch) -> tuple[Tensor, Tensor]:
        """Each row's distinct items among its last events, packed."""
        kept, offsets = tail_index(batch.offsets, tokens=len(batch.items), length=self.config.max_history)
        return distinct(batch.items[kept], offsets, size=len(self.texts.values))

    def _item_tables(self) -> Tensor:
        """The items after 0 … `layers` steps over the graph, `[step, item, dim]`."""
        with torch.autocast(self.texts.values.device.type, enabled=False):
            if self.ids is not None:
                items, people = self.ids.weight, self.graph.mean_of_items(self.ids.weight)
            else:
                # the mean of texts commutes with the first layer, which is linear: so the long vectors are read once
                widened = self.network[0](self.texts.values)
                items, people = self.network[1:](widened), self.network[1:](self.graph.mean_of_items(widened))
            return self.graph.steps(items, people, layers=self.config.layers)

    def _people(self, items: Tensor, offsets: Tensor, tables: Tensor) -> Tensor:
        """The people behind packed rows, `[batch, dim]`."""
        degrees = self.graph.degrees(len(self.texts.values))
        if self.ids is not None:
            steps = [row_mean(self.ids(items), offsets)]
        else:
            steps = [self.network(row_mean(self.texts(items), offsets)).float()]
        steps += [propagate_to_row(table, items, offsets, degrees) for table in tables[: self.config.layers]]
        return torch.stack(steps).mean(0)
