"""CODIGEM: a chain of autoencoders, one per diffusion step, of which the first restores a person's items (Walker et al., 2022)."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.nn.bags import dense_rows
from recsmith.nn.diffusion import GaussianDiffusion
from recsmith.nn.latent import gaussian_divergence
from recsmith.protocols import HistoryBatch


class CodigemConfig(Config):
    """Sizes and noise of CODIGEM."""

    hidden: list[PositiveInt] = Field(default=[200, 200, 200, 200, 200], min_length=1)
    """Widths of the hidden layers of each autoencoder."""
    steps: int = Field(default=3, ge=1)
    """Diffusion steps, each with an autoencoder of its own (the paper's T)."""
    noise: float = Field(default=0.0001, gt=0, lt=1)
    """Share of the variance that each step replaces by noise (the paper's β)."""
    reverse_weight: float = Field(default=1.0, ge=0)
    """Weight of the terms that train the reverse steps; 1 is the evidence lower bound, 0 leaves the denoising autoencoder alone."""


class Codigem(nn.Module):
    """Adds noise to the 0/1 row of a person's items step by step; an autoencoder per step learns to undo its step.

    Paper: Walker, Zhong, Zhang, Gao & Zhou, "Recommendation via Collaborative Diffusion Generative Model", KSEM 2022. The loss is the
    evidence lower bound: the squared error of the row restored from the first, least noisy state, and for each later state the
    divergence between the true step backwards and the Gaussian that its autoencoder predicts. The answer is the first autoencoder's
    restoration, as in the authors' code; the others take part in learning alone, and share no weights with it.

    Deviations: the divergence of a reverse step is that from the true posterior q(z_t-1 | z_t, x), exact, where the authors' code
    compares densities of the forward step at a drawn state; the answer starts from the mean of the first state instead of a drawn
    one, so that it is the same every time; the constant term of the last state is left out; Adam instead of Adamax, Xavier instead of
    nearly zero weights. Rows are dense inside a batch: `[batch, item]`, and `[batch, 2 · item]` for each reverse step.
    """

    Config: ClassVar[type[CodigemConfig]] = CodigemConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(self, config: CodigemConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.items = items
        steps = torch.arange(1, config.steps + 1, dtype=torch.float64)
        self.diffusion = GaussianDiffusion(1 - (1 - config.noise) ** steps)
        self.first = nn.Sequential(_autoencoder([items, *config.hidden, items]), nn.Tanh())
        self.later = nn.ModuleList(_autoencoder([items, *config.hidden, 2 * items]) for _ in range(config.steps - 1))

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Negative evidence lower bound without its constants, mean over rows."""
        clean = self._rows(batch)
        noisy = self._next(clean)
        total = 0.5 * (clean - self.first(noisy)).square().sum()
        for number, reverse in enumerate(self.later, start=1):
            if self.config.reverse_weight == 0:
                break
            noisy = self._next(noisy)
            total = total + self.config.reverse_weight * self._divergence(reverse(noisy), clean, noisy, number)
        return total / max(len(batch), 1)

    def score(self, batch: HistoryBatch) -> Tensor:
        """`[batch, item]`: what the first autoencoder restores."""
        return self.first(self.diffusion.signal_scale[0] * self._rows(batch))

    def _rows(self, batch: HistoryBatch) -> Tensor:
        ones = torch.ones(len(batch.items), device=batch.items.device)
        return dense_rows(batch.items, batch.offsets, ones, size=self.items)

    def _next(self, current: Tensor) -> Tensor:
        """One step further into the noise: a draw from q(z_t | z_t-1)."""
        return (1 - self.config.noise) ** 0.5 * current + self.config.noise**0.5 * torch.randn_like(current)

    def _divergence(self, predicted: Tensor, clean: Tensor, noisy: Tensor, number: int) -> Tensor:
        """KL of the true step from `noisy`, at step `number`, to the one before, from the predicted mean and log-variance; summed."""
        steps = torch.full((len(clean),), number, device=clean.device)
        mean = self.diffusion.posterior_mean(clean, noisy, steps)
        log_variance = self.diffusion.posterior_variance[number].log().expand_as(mean)
        predicted_mean, predicted_log = predicted.chunk(2, dim=1)
        return gaussian_divergence(mean, log_variance, (predicted_mean, predicted_log)).sum()


def _autoencoder(widths: list[int]) -> nn.Sequential:
    """Linear layers of these widths with a PReLU between each two."""
    layers: list[nn.Module] = []
    for pair in pairwise(widths):
        layers += [nn.PReLU(), nn.Linear(*pair)] if layers else [nn.Linear(*pair)]
        nn.init.xavier_normal_(layers[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(layers[-1].bias)  # type: ignore[arg-type]
    return nn.Sequential(*layers)
