"""RecVAE: Mult-VAE with a composite prior, a KL weight per person and alternating updates (Shenbin et al. 2020)."""

from __future__ import annotations

import copy
import math
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from recsmith.config import Config
from recsmith.nn.bags import BagLinear, distinct, multinomial_loss, unit_weights
from recsmith.protocols import HistoryBatch

_DEPTH = 5
_NORM_EPSILON = 0.1  # the authors' value: it keeps the norm from blowing up the little that short histories bring
_WIDE_LOG_VARIANCE = 10.0


class RecVaeConfig(Config):
    """Sizes, prior and turns of RecVAE."""

    hidden: int = Field(default=600, ge=1)
    """Width of the encoder's five layers."""
    dim: int = Field(default=200, ge=1)
    """Width of the latent vector."""
    dropout: float = Field(default=0.5, ge=0, lt=1)
    """Share of a history's items hidden from the encoder while it is the encoder that learns."""
    kl_weight: float = Field(default=0.005, ge=0)
    """Weight of the KL term per item of the history (the paper's γ)."""
    prior_weights: tuple[float, float, float] = (0.15, 0.75, 0.1)
    """Shares of the prior's parts: standard normal, the older posterior, a very wide normal; they add up to 1."""
    prior_every: int = Field(default=200, ge=1)
    """Optimiser steps after which the encoder as it is becomes the older posterior."""
    encoder_steps: int = Field(default=3, ge=1)
    """Optimiser steps in a row in which the encoder learns."""
    decoder_steps: int = Field(default=1, ge=1)
    """Optimiser steps in a row, after those of the encoder, in which the decoder learns."""

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if min(self.prior_weights) < 0 or not math.isclose(sum(self.prior_weights), 1, abs_tol=1e-6):
            raise ValueError(f"`prior_weights` = {list(self.prior_weights)} are no shares; give three numbers ≥ 0 that add up to 1")
        return self


class RecVae(nn.Module):
    """A variational autoencoder of item sets whose prior remembers what its encoder said before.

    Paper: Shenbin, Alekseev, Tutubalina, Malykh & Nikolenko, "RecVAE: A New Variational Autoencoder for Top-N Recommendations with
    Implicit Feedback", WSDM 2020. Encoder: five densely connected layers (swish, layer norm); decoder: one linear layer. The KL
    term is estimated with the sample that is decoded, its weight grows with the history, and the prior mixes a standard normal, the
    posterior of an older encoder and a wide normal. Encoder and decoder learn in turns, the encoder on histories with items hidden, the
    decoder on whole ones. The answer is the decoder's logits at the posterior's mean.

    Deviations: turns and the refreshing of the prior are counted in optimiser steps instead of epochs, so that they do not depend on
    the size of the log; whichever part has its turn, one optimiser drives both (a part out of turn has no gradient and stays as it is).
    As in the authors' code, the prior mixes coordinate by coordinate.
    """

    Config: ClassVar[type[RecVaeConfig]] = RecVaeConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(self, config: RecVaeConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.items = items
        self.encoder = _Encoder(items, config.hidden, config.dim)
        self.older = copy.deepcopy(self.encoder).requires_grad_(False)
        self.decoder = nn.Linear(config.dim, items)
        nn.init.xavier_normal_(self.decoder.weight)
        nn.init.zeros_(self.decoder.bias)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Negative log-likelihood of the history's items plus the weighted KL term, mean over rows (empty rows count as 0).

        In training, `step` says whose turn it is and when the prior is refreshed.
        """
        if self.training and step % self.config.prior_every == 0:
            self.older.load_state_dict(self.encoder.state_dict())
        items, offsets = distinct(batch.items, batch.offsets, size=self.items)
        if self.training and not self._encoder_learns(step):
            with torch.no_grad():
                latent, _ = self._sample(items, offsets, dropout=0.0)
            return multinomial_loss(self.decoder(latent), items, offsets) / max(len(batch), 1)
        latent, log_density = self._sample(items, offsets, dropout=self.config.dropout)
        logits = functional.linear(latent, self.decoder.weight.detach(), self.decoder.bias.detach())
        divergence = (log_density - self.log_prior(latent, items, offsets)).sum(1)
        weights = self.config.kl_weight * offsets.diff()
        return (multinomial_loss(logits, items, offsets) + (weights * divergence).sum()) / max(len(batch), 1)

    def score(self, batch: HistoryBatch) -> Tensor:
        """`[batch, item]`: the decoder's logits at the mean of the encoded history."""
        items, offsets = distinct(batch.items, batch.offsets, size=self.items)
        return self.decoder(self.encoder(items, offsets, dropout=0.0)[0])

    def log_prior(self, latent: Tensor, items: Tensor, offsets: Tensor) -> Tensor:
        """Log-density of the composite prior at `latent` `[batch, dim]` for packed distinct items, coordinate by coordinate."""
        with torch.no_grad():
            mean, log_variance = self.older(items, offsets, dropout=0.0)
        zero = torch.zeros_like(latent)
        parts = [
            log_normal(latent, zero, zero),
            log_normal(latent, mean, log_variance),
            log_normal(latent, zero, zero + _WIDE_LOG_VARIANCE),
        ]
        shares = latent.new_tensor(self.config.prior_weights).log()
        return (torch.stack(parts, dim=-1) + shares).logsumexp(-1)

    def _sample(self, items: Tensor, offsets: Tensor, *, dropout: float) -> tuple[Tensor, Tensor]:
        """A draw from the posterior (outside training its mean) and its log-density, both `[batch, dim]`."""
        mean, log_variance = self.encoder(items, offsets, dropout=dropout if self.training else 0.0)
        noise = torch.randn_like(mean) if self.training else torch.zeros_like(mean)
        latent = mean + noise * torch.exp(0.5 * log_variance)
        return latent, log_normal(latent, mean, log_variance)

    def _encoder_learns(self, step: int) -> bool:
        return step % (self.config.encoder_steps + self.config.decoder_steps) < self.config.encoder_steps


class _Encoder(nn.Module):
    """Packed distinct items → mean and log-variance, `[batch, dim]` each."""

    def __init__(self, items: int, hidden: int, dim: int) -> None:
        super().__init__()
        self.first = BagLinear(items, hidden)
        self.layers = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(_DEPTH - 1))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden, eps=_NORM_EPSILON) for _ in range(_DEPTH))
        self.mean = nn.Linear(hidden, dim)
        self.log_variance = nn.Linear(hidden, dim)

    def forward(self, items: Tensor, offsets: Tensor, *, dropout: float) -> tuple[Tensor, Tensor]:
        """`dropout` is the share of items to hide."""
        weights = unit_weights(offsets, tokens=len(items), dtype=self.first.bias.dtype)
        hidden = self.norms[0](functional.silu(self.first(items, offsets, functional.dropout(weights, dropout))))
        before = hidden
        for layer, norm in zip(self.layers, self.norms[1:], strict=True):
            hidden = norm(functional.silu(layer(hidden) + before))
            before = before + hidden
        return self.mean(hidden).float(), self.log_variance(hidden).float()  # densities need the digits that bf16 has not


def log_normal(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Log-density of a normal distribution, element by element."""
    return -0.5 * (math.log(2 * math.pi) + log_variance + (x - mean).square() * torch.exp(-log_variance))
