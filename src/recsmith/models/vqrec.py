"""VQ-Rec: item texts → discrete codes → learned code vectors, read by a causal transformer (Hou et al., WWW 2023, arXiv:2210.12316)."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.data import ItemCodes
from recsmith.nn.causal_encoder import CausalEncoder, CausalEncoderConfig, initialise_normal
from recsmith.nn.code_sets import CodeSets
from recsmith.nn.item_vectors import KeptTable
from recsmith.nn.losses import fused_cross_entropy
from recsmith.nn.next_step import Encode, NextStep
from recsmith.protocols import HistoryBatch


class VqrecConfig(CausalEncoderConfig):
    """Size and regularisation of VQ-Rec; the defaults fit two CPU cores."""


class Vqrec(NextStep):
    """Scores an item by the inner product of the mean of its codes' vectors with the state after the last event.

    The codes come from any item tokenizer; the paper's are those of optimised product quantization (`pq`). Text decides the codes and the
    interactions decide what the codes mean, so that texts bind items less tightly than in models that read text vectors themselves.

    Deviations from the paper: a full softmax at every position instead of pre-training with mixed negatives and code permutations;
    an item's vector is the mean, not the sum; a CPU's size; a learned start vector stands for the empty history.
    """

    Config: ClassVar[type[Config]] = VqrecConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"
    reads: ClassVar[tuple[str, ...]] = ("codes",)

    def __init__(self, config: VqrecConfig, *, items: int, codes: ItemCodes) -> None:
        super().__init__()
        self.config = config
        self.items = CodeSets(torch.as_tensor(codes.table, dtype=torch.int64), codes.sizes, config.dim)
        self.encoder = CausalEncoder(config)
        self.start = nn.Parameter(torch.zeros(config.dim))
        self.apply(partial(initialise_normal, std=config.init_std))
        nn.init.normal_(self.items.vectors.weight, std=config.init_std * codes.levels**0.5)  # so that their mean has the usual size
        self._table = KeptTable(self, self._item_table)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean over all positions of the cross-entropy of the item that came next; 0 for a batch without events."""
        table = self._item_table()
        states, targets = self.next_states(self._encode(batch, table), batch)
        return fused_cross_entropy(states, table, batch.items[targets])

    def score(self, batch: HistoryBatch) -> Tensor:
        """Scores `[batch, item]`."""
        return self.queries(batch) @ self.answer_vectors()[0].T

    def queries(self, batch: HistoryBatch) -> Tensor:
        """States whose inner products with `answer_vectors` are the scores, `[batch, dim]`."""
        return self.final_states(self._encode(batch, self._table()), batch)

    def answer_vectors(self) -> tuple[Tensor, None]:
        """Item vectors `[item, dim]`; there is no bias."""
        return self._table(), None

    def _item_table(self) -> Tensor:
        return self.items(torch.arange(len(self.items.numbers), device=self.items.numbers.device))

    def _encode(self, batch: HistoryBatch, table: Tensor) -> Encode:
        return lambda tokens, offsets: self.encoder(table[batch.items[tokens]], offsets)
