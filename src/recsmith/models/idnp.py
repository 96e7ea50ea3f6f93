"""IDNP: a neural process over somebody's interests; a latent vector for what a few events say about the person (Du et al., 2023)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.nn.dropout import Dropout
from recsmith.nn.latent import annealed, gaussian_divergence, sample
from recsmith.nn.losses import fused_cross_entropy
from recsmith.nn.packed import offsets_from, positions, row_ids, tail_index
from recsmith.nn.pooling import row_mean
from recsmith.nn.recurrent import PackedGru
from recsmith.protocols import HistoryBatch


class IdnpConfig(Config):
    """Sizes, regularisation and annealing of IDNP."""

    dim: int = Field(64, ge=1)
    """Width of item vectors."""
    hidden: int = Field(128, ge=1)
    """Width of the recurrent state and of the hidden layers."""
    latent: int = Field(64, ge=1)
    """Width of the latent vector of a person's interests."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of values dropped in the input and the state."""
    kl_weight: float = Field(0.1, ge=0)
    """Weight of the divergence between what the whole history and what its known part say, once annealing is over; 1 is the bound."""
    annealing_steps: int = Field(1_000, ge=0)
    """Optimiser steps over which that weight grows from 0."""
    max_history: int = Field(50, ge=1)
    """Events of a history that are read, counted from its end."""
    init_std: float = Field(0.02, gt=0)
    """Standard deviation of the initial item vectors."""


class Idnp(nn.Module):
    """A latent vector from the known events (the context), a recurrent state of the moment, and both together score the items.

    Paper: Du, Ye, Yao, Guo, Feng & Chen, "IDNP: Interest Dynamics Modeling using Generative Neural Processes for Sequential
    Recommendation", WSDM 2023. In training each history is cut at random: the context gives q(z | context), the whole history
    q(z | context and targets), a draw from the latter helps to predict the events after the cut, and the divergence between the two
    teaches the first to foresee. To answer, the whole history is the context and z its mean.

    Deviations: the events before the cut are predicted too, with the same z; a permutation-invariant mean of transformed
    events stands for the paper's interest encoder; the recurrent state is the decoder's own view of the order of events; the
    output layer shares the item vectors, so that no `[token, item]` is held in training.
    """

    Config: ClassVar[type[Config]] = IdnpConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(self, config: IdnpConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.items = nn.Embedding(items, config.dim)
        self.bias = nn.Parameter(torch.zeros(items))
        self.dropout = Dropout(config.dropout)
        self.event = nn.Sequential(nn.Linear(config.dim, config.hidden), nn.ReLU(), nn.Linear(config.hidden, config.hidden))
        self.interests = nn.Linear(config.hidden, 2 * config.latent)
        self.gru = PackedGru(config.dim, config.hidden)
        self.decoder = nn.Sequential(
            nn.Linear(config.hidden + config.latent, config.hidden), nn.ReLU(), nn.Linear(config.hidden, config.dim)
        )
        self.start = nn.Parameter(torch.zeros(config.hidden))
        nn.init.normal_(self.items.weight, std=config.init_std)

    def interest(self, items: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Item indices `[token]` of packed rows → mean and log-variance of each row's latent vector, `[row, latent]`."""
        mean, log_variance = self.interests(row_mean(self.event(self.items(items)), offsets)).chunk(2, dim=1)
        return mean, log_variance

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean cross-entropy of all events given those before them and z, plus the divergence; 0 for a batch without events."""
        kept, offsets = tail_index(batch.offsets, tokens=len(batch.items), length=self.config.max_history + 1)
        items = batch.items[kept]
        if not len(items):
            return self.start.sum() * 0
        rows = row_ids(offsets, tokens=len(items))
        known = self._cut(offsets, tokens=len(items))
        prior = self.interest(items[known], offsets_from(torch.bincount(rows[known], minlength=len(batch))))
        posterior = self.interest(items, offsets)
        latent = sample(*posterior, noisy=self.training)
        outputs = self._decode(self._states_before(items, offsets), latent[rows])
        likelihood = fused_cross_entropy(outputs, self.items.weight, items, bias=self.bias)
        weight = self.config.kl_weight * annealed(step, self.config.annealing_steps)
        return likelihood + weight * gaussian_divergence(*posterior, prior).sum() / len(batch)

    def score(self, batch: HistoryBatch) -> Tensor:
        """`[batch, item]`, from the mean of the latent vector."""
        kept, offsets = tail_index(batch.offsets, tokens=len(batch.items), length=self.config.max_history)
        items = batch.items[kept]
        states = self.start.expand(len(batch), -1)
        if len(items):
            found = self.gru(self.items(items), offsets)
            states = torch.where((offsets.diff() > 0)[:, None], found[(offsets[1:] - 1).clamp(min=0)], states)
        return self._decode(states, self.interest(items, offsets)[0]) @ self.items.weight.T + self.bias

    def _decode(self, states: Tensor, latent: Tensor) -> Tensor:
        return self.decoder(self.dropout(torch.cat([states, latent], 1)))

    def _states_before(self, items: Tensor, offsets: Tensor) -> Tensor:
        """The recurrent state before each event, `[token, hidden]`; the learned start before a row's first."""
        states = self.gru(self.dropout(self.items(items)), offsets)
        first = positions(offsets, tokens=len(items)) == 0
        return torch.where(first[:, None], self.start.to(states.dtype), states.roll(1, 0))

    def _cut(self, offsets: Tensor, *, tokens: int) -> Tensor:
        """Which events are known, bool `[token]`: in each row those before a place drawn at random, none to all but one."""
        cut = (torch.rand(len(offsets) - 1, device=offsets.device) * offsets.diff()).floor()
        return positions(offsets, tokens=tokens) < cut[row_ids(offsets, tokens=tokens)]
