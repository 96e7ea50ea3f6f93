"""Mult-VAE: a variational autoencoder of people's item sets with a multinomial likelihood (Liang et al. 2018)."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from recsmith.config import Config
from recsmith.nn.bags import distinct, multinomial_loss, unit_weights
from recsmith.nn.latent import annealed, gaussian_divergence, sample
from recsmith.protocols import HistoryBatch


class MultVaeConfig(Config):
    """Sizes, regularisation and annealing of Mult-VAE."""

    hidden: list[PositiveInt] = Field(default=[600], min_length=1)
    """Widths of the encoder's hidden layers, from the items inwards; the decoder mirrors them."""
    dim: int = Field(default=200, ge=1)
    """Width of the latent vector."""
    dropout: float = Field(default=0.5, ge=0, lt=1)
    """Share of a history's items hidden from the encoder in training."""
    kl_weight: float = Field(default=0.1, ge=0)
    """Weight of the KL term once annealing is over; 1 is the evidence lower bound."""
    annealing_steps: int = Field(default=1_000, ge=0)
    """Optimiser steps over which the weight of the KL term grows from 0 to `kl_weight`."""


class MultVae(nn.Module):
    """Encodes the set of a person's items as a Gaussian, decodes it to a distribution over the catalogue.

    Paper: Liang, Krishnan, Hoffman & Jebara, "Variational Autoencoders for Collaborative Filtering", WWW 2018. The answer is the decoder's
    logits at the mean of the Gaussian. Order and repetition inside a history do not matter.

    Deviations: the annealing is shorter by default, for smaller logs; there is no weight decay here (the optimiser has one). The first
    layer is a sum of item vectors over the history, which equals the paper's product with a normalised 0/1 row without ever forming
    that row. Memory in training: the logits `[batch, item]` and up to three arrays like them for the gradient.
    """

    Config: ClassVar[type[MultVaeConfig]] = MultVaeConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(self, config: MultVaeConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.items = items
        widths = [*config.hidden, config.dim]
        self.embedding = nn.EmbeddingBag(items, widths[0], mode="sum", include_last_offset=True)
        self.bias = nn.Parameter(torch.zeros(widths[0]))
        self.encoder = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(config.hidden))
        self.mean = nn.Linear(config.hidden[-1], config.dim)
        self.log_variance = nn.Linear(config.hidden[-1], config.dim)
        self.decoder = nn.ModuleList(nn.Linear(*pair) for pair in pairwise([*reversed(widths), items]))
        self._initialise()

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Negative log-likelihood of the history's items plus the annealed KL term, mean over rows (empty rows count as 0)."""
        items, offsets = distinct(batch.items, batch.offsets, size=self.items)
        mean, log_variance = self._encode(items, offsets)
        logits = self._decode(sample(mean, log_variance, noisy=self.training))
        filled = (offsets.diff() > 0).to(mean.dtype)
        divergence = (gaussian_divergence(mean, log_variance) * filled).sum()
        weight = self.config.kl_weight * annealed(step, self.config.annealing_steps)
        return (multinomial_loss(logits, items, offsets) + weight * divergence) / max(len(batch), 1)

    def score(self, batch: HistoryBatch) -> Tensor:
        """`[batch, item]`: the decoder's logits at the mean of the encoded history."""
        mean, _ = self._encode(*distinct(batch.items, batch.offsets, size=self.items))
        return self._decode(mean)

    def _encode(self, items: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Packed distinct items → mean and log-variance, `[batch, dim]` each."""
        weights = unit_weights(offsets, tokens=len(items), dtype=self.bias.dtype)
        weights = functional.dropout(weights, self.config.dropout, self.training)
        hidden = torch.tanh(self.embedding(items, offsets, weights) + self.bias)
        for layer in self.encoder:
            hidden = torch.tanh(layer(hidden))
        return self.mean(hidden), self.log_variance(hidden)

    def _decode(self, latent: Tensor) -> Tensor:
        """`[batch, dim]` → logits `[batch, item]`."""
        for layer in self.decoder[:-1]:
            latent = torch.tanh(layer(latent))
        return self.decoder[-1](latent)

    def _initialise(self) -> None:
        nn.init.xavier_normal_(self.embedding.weight)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)
                nn.init.trunc_normal_(module.bias, std=0.001)
