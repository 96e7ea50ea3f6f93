"""VASER: a session is a latent vector whose distribution a chain of flows makes richer than a Gaussian (Zhong et al., 2020)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.nn.dropout import Dropout
from recsmith.nn.flows import CouplingFlow, Flows, PlanarFlow, log_normal
from recsmith.nn.latent import annealed, sample
from recsmith.nn.losses import fused_cross_entropy
from recsmith.nn.next_step import NextStep
from recsmith.nn.pooling import causal_attention_pool
from recsmith.nn.recurrent import PackedGru
from recsmith.protocols import HistoryBatch


class VaserConfig(Config):
    """Sizes, flows and regularisation of VASER."""

    dim: int = Field(64, ge=1)
    """Width of item vectors and of the decoder's output."""
    hidden: int = Field(128, ge=1)
    """Width of the recurrent state and of the decoder's hidden layer."""
    latent: int = Field(64, ge=2)
    """Width of the latent vector."""
    flow: Literal["planar", "coupling"] = "planar"
    """Kind of the flows."""
    flows: int = Field(4, ge=0)
    """Flows one after the other; 0 leaves the Gaussian."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of values dropped in the input and the session's state."""
    kl_weight: float = Field(0.1, ge=0)
    """Weight of the KL term once annealing is over; 1 is the evidence lower bound."""
    annealing_steps: int = Field(1_000, ge=0)
    """Optimiser steps over which the weight of the KL term grows from 0 to `kl_weight`."""
    max_history: int = Field(50, ge=1)
    """Events of a history that are read, counted from its end."""
    init_std: float = Field(0.02, gt=0)
    """Standard deviation of the initial item vectors."""


class Vaser(NextStep):
    """Recurrent state and attention over the session → Gaussian → flows → scores of the items.

    Paper: Zhong, Wen, Zhou, Trajcevski & Zhang, "Session-based recommendation via flow-based deep generative networks and Bayesian
    inference", Neurocomputing 391, 2020. The KL term between the flows' distribution and the standard normal has no closed form and
    is estimated at the drawn vector, log q(z0) - log|det| - log p(zK). The answer is decoded from the flows' image of the mean.

    Deviations: how much an event is attended to depends on that event alone and not on the last one, so that all positions of a session
    train at once; the output layer shares the item vectors; coupling flows are an option of ours; a learned Gaussian stands for the
    empty session.
    """

    Config: ClassVar[type[Config]] = VaserConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(self, config: VaserConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.items = nn.Embedding(items, config.dim)
        self.bias = nn.Parameter(torch.zeros(items))
        self.dropout = Dropout(config.dropout)
        self.gru = PackedGru(config.dim, config.hidden)
        self.attend = nn.Sequential(nn.Linear(config.hidden, config.hidden), nn.Sigmoid(), nn.Linear(config.hidden, 1, bias=False))
        self.encoder = nn.Linear(2 * config.hidden, 2 * config.latent)
        self.flows = Flows([self._flow(number) for number in range(config.flows)])
        self.decoder = nn.Sequential(nn.Linear(config.latent, config.hidden), nn.Tanh(), nn.Linear(config.hidden, config.dim))
        self.start = nn.Parameter(torch.zeros(2 * config.latent))
        nn.init.normal_(self.items.weight, std=config.init_std)

    def forward(self, items: Tensor, offsets: Tensor) -> Tensor:
        """Item indices `[token]` of packed rows → mean and log-variance after each event, `[token, 2 latent]`."""
        states = self.dropout(self.gru(self.dropout(self.items(items)), offsets))
        pooled = causal_attention_pool(states, self.attend(states).squeeze(1), offsets)
        return self.encoder(torch.cat([states, pooled], 1))

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean cross-entropy of the next events plus the annealed KL term; 0 for a batch without events."""
        gaussians, index = self.next_states(lambda tokens, offsets: self(batch.items[tokens], offsets), batch)
        mean, log_variance = gaussians.chunk(2, dim=1)
        drawn = sample(mean, log_variance, noisy=self.training)
        moved, change = self.flows(drawn)
        divergence = log_normal(drawn, mean, log_variance) - change - log_normal(moved)
        likelihood = fused_cross_entropy(self.decoder(moved), self.items.weight, batch.items[index], bias=self.bias)
        weight = self.config.kl_weight * annealed(step, self.config.annealing_steps)
        return likelihood + weight * divergence.sum() / max(len(divergence), 1)

    def score(self, batch: HistoryBatch) -> Tensor:
        """`[batch, item]`: decoded from the image of the mean."""
        gaussians = self.final_states(lambda tokens, offsets: self(batch.items[tokens], offsets), batch)
        moved, _ = self.flows(gaussians.chunk(2, dim=1)[0])
        return self.decoder(moved) @ self.items.weight.T + self.bias

    def _flow(self, number: int) -> nn.Module:
        config = self.config
        if config.flow == "planar":
            return PlanarFlow(config.latent)
        return CouplingFlow(config.latent, config.hidden, odd=bool(number % 2))
