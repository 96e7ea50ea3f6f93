"""Second-level user encoder: liked items' text vectors → one vector in the same space (Deldjoo et al., 2024, section 3.1.1)."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from recsmith.config import Config
from recsmith.nn.causal_encoder import CausalEncoder, CausalEncoderConfig, initialise_normal
from recsmith.nn.item_vectors import ItemVectors
from recsmith.nn.losses import fused_cross_entropy
from recsmith.nn.next_step import Encode, NextStep
from recsmith.nn.pooling import causal_attention_pool
from recsmith.protocols import HistoryBatch


class LikedItemsConfig(CausalEncoderConfig):
    """Size and sharpness of the encoder."""

    dropout: float = Field(0.2, ge=0, lt=1)
    """Share of values dropped, in the input and the two parts of each block."""
    temperature: float = Field(0.05, gt=0)
    """Divisor of the cosines in the loss; smaller is sharper."""


class LikedItems(NextStep):
    """Scores an item by the cosine of its own, untouched text vector with the person's.

    The person's vector is the mean of the liked items' vectors plus what a causal transformer over them adds, which is nothing before
    training: the model starts as dense retrieval by the mean. Since items keep the encoder's vectors, an index over them serves any number
    of such encoders, and new items need no training; `user_vectors` gives the queries.

    The survey describes the idea and no network; the transformer, its residual form and the contrast with the batch's other items are ours.
    """

    Config: ClassVar[type[Config]] = LikedItemsConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"
    reads: ClassVar[tuple[str, ...]] = ("vectors",)
    inductive: ClassVar[bool] = True

    def __init__(self, config: LikedItemsConfig, *, items: int, vectors: np.ndarray) -> None:
        super().__init__()
        self.config = config
        self.texts = ItemVectors(normalize(torch.as_tensor(vectors, dtype=torch.float32), dim=1))
        self.narrow = nn.Linear(self.texts.dim, config.dim)
        self.encoder = CausalEncoder(config)
        self.widen = nn.Linear(config.dim, self.texts.dim)
        self.start = nn.Parameter(torch.zeros(self.texts.dim))
        self.apply(partial(initialise_normal, std=config.init_std))
        nn.init.zeros_(self.widen.weight)

    def user_vectors(self, batch: HistoryBatch) -> Tensor:
        """Vectors of length 1 in the space of the items, `[batch, text dim]`."""
        return normalize(self.final_states(self._encode(batch), batch).float(), dim=1)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean over all positions of the cross-entropy of what came next among the batch's items; 0 for a batch without events."""
        states, index = self.next_states(self._encode(batch), batch)
        present, items = batch.items.unique(return_inverse=True)
        sharp = normalize(states.float(), dim=1) / self.config.temperature
        return fused_cross_entropy(sharp, self.texts(present), items[index])

    def score(self, batch: HistoryBatch) -> Tensor:
        """Cosines `[batch, item]`."""
        return self.user_vectors(batch) @ self.texts.values.T

    def _encode(self, batch: HistoryBatch) -> Encode:
        def encode(tokens: Tensor, offsets: Tensor) -> Tensor:
            vectors = self.texts(batch.items[tokens])
            mean = causal_attention_pool(vectors, vectors.new_zeros(len(vectors)), offsets)
            return mean + self.widen(self.encoder(self.narrow(vectors), offsets))

        return encode
