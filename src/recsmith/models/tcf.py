"""TCF: text-based collaborative filtering, a dense layer over a frozen language model's vectors before SASRec (Li et al., 2023)."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.nn.causal_encoder import CausalEncoder, CausalEncoderConfig, initialise_normal
from recsmith.nn.dropout import Dropout
from recsmith.nn.item_vectors import ItemVectors, KeptTable
from recsmith.nn.losses import fused_cross_entropy
from recsmith.nn.next_step import Encode, NextStep
from recsmith.protocols import HistoryBatch


class TcfConfig(CausalEncoderConfig):
    """Size and regularisation of TCF."""

    text_layers: int = Field(2, ge=1)
    """Dense layers between the text vectors and the transformer."""
    text_dropout: float = Field(0.1, ge=0, lt=1)
    """Share of values dropped between the dense layers."""


class Tcf(NextStep):
    """Scores an item by the inner product of its transformed text vector with the state after the last event.

    Paper: "Exploring the upper limits of text-based collaborative filtering using large language models", arXiv:2305.11700, which asks
    how far this goes with ever larger text encoders. Deviations: the text encoder is always frozen (the paper also tunes it) and its SASRec
    variant alone is here; a full softmax instead of the batch's items; a learned start vector stands for the empty history.
    """

    Config: ClassVar[type[Config]] = TcfConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"
    reads: ClassVar[tuple[str, ...]] = ("vectors",)
    inductive: ClassVar[bool] = True

    def __init__(self, config: TcfConfig, *, items: int, vectors: np.ndarray) -> None:
        super().__init__()
        self.config = config
        self.texts = ItemVectors(vectors)
        layers: list[nn.Module] = [nn.Linear(self.texts.dim, config.dim)]
        for _ in range(config.text_layers - 1):
            layers += [nn.GELU(), Dropout(config.text_dropout), nn.Linear(config.dim, config.dim)]
        self.encoder = CausalEncoder(config)
        self.start = nn.Parameter(torch.zeros(config.dim))
        self.encoder.apply(partial(initialise_normal, std=config.init_std))
        self.transform = nn.Sequential(*layers)
        self._table = KeptTable(self, self._item_table)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean over all positions of the cross-entropy of the item that came next; 0 for a batch without events."""
        table = self._item_table()
        states, targets = self.next_states(self._encode(batch, table), batch)
        return fused_cross_entropy(states, table, batch.items[targets])

    def score(self, batch: HistoryBatch) -> Tensor:
        """Scores `[batch, item]`."""
        table = self._table()
        return self.final_states(self._encode(batch, table), batch) @ table.T

    def _item_table(self) -> Tensor:
        return self.transform(self.texts.values)

    def _encode(self, batch: HistoryBatch, table: Tensor) -> Encode:
        return lambda tokens, offsets: self.encoder(table[batch.items[tokens]], offsets)
