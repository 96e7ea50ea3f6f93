"""SVAE: a recurrent network over the history, a Gaussian at each step, a distribution over the next items (Sachdeva et al., 2019)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.nn.dropout import Dropout
from recsmith.nn.latent import annealed, gaussian_divergence, sample
from recsmith.nn.losses import fused_cross_entropy
from recsmith.nn.next_step import NextStep
from recsmith.nn.packed import row_ids
from recsmith.nn.recurrent import PackedGru
from recsmith.protocols import HistoryBatch


class SvaeConfig(Config):
    """Sizes, regularisation and annealing of SVAE."""

    dim: int = Field(64, ge=1)
    """Width of item vectors and of the decoder's output."""
    hidden: int = Field(128, ge=1)
    """Width of the recurrent state and of the hidden layers of encoder and decoder."""
    latent: int = Field(64, ge=1)
    """Width of the latent vector."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of values dropped in the input and the recurrent state."""
    ahead: int = Field(4, ge=1)
    """How many of the following events each step predicts (the paper's k)."""
    kl_weight: float = Field(0.1, ge=0)
    """Weight of the KL term once annealing is over; 1 is the evidence lower bound."""
    annealing_steps: int = Field(1_000, ge=0)
    """Optimiser steps over which the weight of the KL term grows from 0 to `kl_weight`."""
    max_history: int = Field(50, ge=1)
    """Events of a history that are read, counted from its end."""
    init_std: float = Field(0.02, gt=0)
    """Standard deviation of the initial item vectors."""


class Svae(NextStep):
    """Encodes the history up to each event as a Gaussian and decodes it to a distribution over the events that follow.

    Paper: Sachdeva, Manco, Ritacco & Pudi, "Sequential Variational Autoencoders for Collaborative Filtering", WSDM 2019. The answer is the
    decoder's logits at the mean of the Gaussian after the last event.

    Deviations: the output layer shares the item vectors, so that the loss is computed chunk by chunk without `[token, item]`; the events
    that a step predicts count alike, as the paper's multinomial has it, and those beyond the end of the history are missing
    rather than padded; the empty history is a learned Gaussian that predicts the first event; Adam without the paper's
    weight decay.
    """

    Config: ClassVar[type[Config]] = SvaeConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(self, config: SvaeConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.items = nn.Embedding(items, config.dim)
        self.bias = nn.Parameter(torch.zeros(items))
        self.dropout = Dropout(config.dropout)
        self.gru = PackedGru(config.dim, config.hidden)
        self.encoder = nn.Sequential(nn.Linear(config.hidden, config.hidden), nn.Tanh(), nn.Linear(config.hidden, 2 * config.latent))
        self.decoder = nn.Sequential(nn.Linear(config.latent, config.hidden), nn.Tanh(), nn.Linear(config.hidden, config.dim))
        self.start = nn.Parameter(torch.zeros(2 * config.latent))
        nn.init.normal_(self.items.weight, std=config.init_std)

    def forward(self, items: Tensor, offsets: Tensor) -> Tensor:
        """Item indices `[token]` of packed rows → mean and log-variance after each event, `[token, 2 latent]`."""
        return self.encoder(self.dropout(self.gru(self.dropout(self.items(items)), offsets)))

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean cross-entropy of the events that follow plus the annealed KL term, mean over steps; 0 for a batch without events."""
        gaussians, index = self.next_states(lambda tokens, offsets: self(batch.items[tokens], offsets), batch)
        mean, log_variance = gaussians.chunk(2, dim=1)
        outputs = self.decoder(sample(mean, log_variance, noisy=self.training))
        source, target = self._following(index, batch)
        likelihood = fused_cross_entropy(outputs[source], self.items.weight, batch.items[target], bias=self.bias)
        divergence = gaussian_divergence(mean, log_variance).sum() / max(len(mean), 1)
        return likelihood + self.config.kl_weight * annealed(step, self.config.annealing_steps) * divergence

    def score(self, batch: HistoryBatch) -> Tensor:
        """`[batch, item]`: the decoder's logits at the mean."""
        gaussians = self.final_states(lambda tokens, offsets: self(batch.items[tokens], offsets), batch)
        return self.decoder(gaussians.chunk(2, dim=1)[0]) @ self.items.weight.T + self.bias

    def _following(self, index: Tensor, batch: HistoryBatch) -> tuple[Tensor, Tensor]:
        """For each predicted event `[target]` itself and the next ones of its row: place among `index`, and event; int64 `[pair]` each."""
        ahead = torch.arange(self.config.ahead, device=index.device)
        if not len(index):
            return index, index
        ends = batch.offsets[1:][row_ids(batch.offsets, tokens=len(batch.items))[index]]
        events = index[:, None] + ahead
        inside = (events < ends[:, None]).nonzero()
        return inside[:, 0], events[inside[:, 0], inside[:, 1]]
