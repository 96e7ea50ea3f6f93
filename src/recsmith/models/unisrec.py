"""UniSRec: item texts through a mixture of whitening experts, read by a causal transformer that transfers (Hou et al., KDD 2022)."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.nn.causal_encoder import CausalEncoder, CausalEncoderConfig, initialise_normal
from recsmith.nn.dropout import Dropout
from recsmith.nn.item_vectors import ItemVectors, KeptTable
from recsmith.nn.losses import fused_cross_entropy
from recsmith.nn.next_step import Encode, NextStep
from recsmith.nn.packed import offsets_from, row_ids
from recsmith.protocols import HistoryBatch


class UnisrecConfig(CausalEncoderConfig):
    """Size, adaptor and objective of UniSRec; the defaults fit two CPU cores."""

    experts: int = Field(8, ge=1)
    """Whitening layers that are mixed."""
    adaptor_dropout: float = Field(0.2, ge=0, lt=1)
    """Share of the text vectors' values dropped before each whitening layer."""
    ids: bool = False
    """Whether items also have learned vectors of their own (the paper's transductive setting)."""
    objective: Literal["softmax", "contrastive"] = "softmax"
    """softmax over all items, as in fine-tuning; contrastive: over the batch's items, plus two views of a history, as in pre-training."""
    sequence_weight: float = Field(1e-3, ge=0)
    """Weight of the contrast between two views of a history in the contrastive objective."""
    item_drop: float = Field(0.2, ge=0, lt=1)
    """Share of events left out of the second view of a history."""
    tuned: Literal["all", "adaptor"] = "all"
    """What training moves: everything, or the adaptor alone (parameter-efficient transfer)."""
    temperature: float = Field(0.07, gt=0)
    """Divisor of the cosines."""


class WhiteningMixture(nn.Module):
    """The adaptor: Σ gate_k(x) · (x − shift_k) W_k over the experts, with noisy gates while training."""

    def __init__(self, width: int, dim: int, *, experts: int, dropout: float) -> None:
        super().__init__()
        self.shifts = nn.Parameter(torch.zeros(experts, width))
        self.weights = nn.Parameter(torch.empty(experts, width, dim).normal_(std=0.02))
        self.gates = nn.Parameter(torch.zeros(width, experts))
        self.noise = nn.Parameter(torch.zeros(width, experts))
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Text vectors `[token, width]` → `[token, dim]`."""
        logits = x @ self.gates
        if self.training:
            logits = logits + torch.randn_like(logits) * F.softplus(x @ self.noise)
        experts, width, dim = self.weights.shape
        flat = self.weights.permute(1, 0, 2).reshape(width, experts * dim)
        moved = (self.dropout(x) @ flat).view(len(x), experts, dim) - torch.einsum("ew,ewd->ed", self.shifts, self.weights)
        return torch.einsum("te,ted->td", logits.softmax(1).to(moved.dtype), moved)


class Unisrec(NextStep):
    """Scores an item by the cosine between its adapted text vector and the state after the last event, divided by a temperature.

    Without `ids` no weight belongs to an item or to a data set: the weights of one run start another (`start.run`), and new items are
    scored without training. Pre-train with `objective = "contrastive"`, then fine-tune with "softmax".

    Deviations from the paper: one source data set at a time, so the contrastive negatives come from one domain; the second view leaves out
    items, never words; every position of a history is trained, not its end alone; a CPU's size by default (paper: 300 wide, 2 layers);
    a learned start vector stands for the empty history; the whitening drops values once for all experts.
    """

    Config: ClassVar[type[Config]] = UnisrecConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"
    reads: ClassVar[tuple[str, ...]] = ("vectors",)

    def __init__(self, config: UnisrecConfig, *, items: int, vectors: np.ndarray) -> None:
        super().__init__()
        self.config = config
        self.texts = ItemVectors(vectors)
        self.encoder = CausalEncoder(config)
        self.start = nn.Parameter(torch.empty(config.dim).normal_(std=config.init_std))
        self.ids = nn.Embedding(items, config.dim) if config.ids else None
        self.apply(partial(initialise_normal, std=config.init_std))
        self.adaptor = WhiteningMixture(self.texts.dim, config.dim, experts=config.experts, dropout=config.adaptor_dropout)
        self._table = KeptTable(self, self._item_table)
        if config.tuned == "adaptor":
            for parameter in self.encoder.parameters():
                parameter.requires_grad_(False)
            self.start.requires_grad_(False)

    @property
    def inductive(self) -> bool:
        """Whether no weight belongs to a single item."""
        return self.ids is None

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean over all positions of the cross-entropy of what came next; 0 for a batch without events."""
        if self.config.objective == "softmax":
            table = self._item_table()
            states, index = self.next_states(self._encode(batch, table), batch)
            return fused_cross_entropy(self._sharp(states), F.normalize(table.float(), dim=1), batch.items[index])
        present, items = batch.items.unique(return_inverse=True)
        table = self._adapted(present)
        local = HistoryBatch(items, batch.offsets)
        states, index = self.next_states(self._encode(local, table), batch)
        loss = fused_cross_entropy(self._sharp(states), F.normalize(table.float(), dim=1), items[index])
        return loss + self.config.sequence_weight * self._between_views(local, table)

    def score(self, batch: HistoryBatch) -> Tensor:
        """Scores `[batch, item]`."""
        return self.queries(batch) @ self.answer_vectors()[0].T

    def queries(self, batch: HistoryBatch) -> Tensor:
        """States whose inner products with `answer_vectors` are the scores, `[batch, dim]`."""
        return self._sharp(self.final_states(self._encode(batch, self._table()), batch))

    def answer_vectors(self) -> tuple[Tensor, None]:
        """Item vectors `[item, dim]`; there is no bias."""
        return F.normalize(self._table().float(), dim=1), None

    def _between_views(self, batch: HistoryBatch, table: Tensor) -> Tensor:
        """Cross-entropy of finding a history's second view, in which events are left out, among those of the batch."""
        kept = torch.rand(len(batch.items), device=batch.items.device) >= self.config.item_drop
        lengths = torch.bincount(row_ids(batch.offsets, tokens=len(batch.items))[kept], minlength=len(batch))
        view = HistoryBatch(batch.items[kept], offsets_from(lengths))
        first, second = (self.final_states(self._encode(some, table), some) for some in (batch, view))
        both = (batch.offsets.diff() > 0) & (lengths > 0)
        return fused_cross_entropy(
            self._sharp(first[both]), F.normalize(second[both].float(), dim=1), torch.arange(int(both.sum()), device=both.device)
        )

    def _encode(self, batch: HistoryBatch, table: Tensor) -> Encode:
        return lambda tokens, offsets: self.encoder(table[batch.items[tokens]], offsets)

    def _sharp(self, states: Tensor) -> Tensor:
        return F.normalize(states.float(), dim=1) / self.config.temperature

    def _item_table(self) -> Tensor:
        """Adapted vectors of the whole catalogue, `[item, dim]`."""
        return self._adapted(torch.arange(len(self.texts.values), device=self.texts.values.device))

    def _adapted(self, items: Tensor) -> Tensor:
        adapted = self.adaptor(self.texts(items))
        return adapted if self.ids is None else adapted + self.ids(items)
