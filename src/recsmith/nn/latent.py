"""Latent Gaussians: a draw, the divergence from the standard normal or from another one, and annealing."""

from __future__ import annotations

import torch
from torch import Tensor


def sample(mean: Tensor, log_variance: Tensor, *, noisy: bool) -> Tensor:
    """A draw from N(mean, exp(log_variance)) that gradients pass through; the mean itself unless `noisy`."""
    return mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance) if noisy else mean


def gaussian_divergence(mean: Tensor, log_variance: Tensor, other: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """KL(N(mean, exp(log_variance)) ‖ other), summed over the last dimension; `other`: (mean, log-variance), None for N(0, 1)."""
    other_mean, other_log = other if other is not None else (torch.zeros_like(mean), torch.zeros_like(mean))
    ratio = (log_variance.exp() + (mean - other_mean).square()) / other_log.exp()
    return 0.5 * (ratio - 1 - log_variance + other_log).sum(-1)


def annealed(step: int, steps: int) -> float:
    """Share of a full weight at an optimiser step, growing evenly to 1 within `steps`."""
    return min(1.0, step / max(steps, 1))


def draw(mean: Tensor, log_variance: Tensor, *, generator: torch.Generator | None) -> Tensor:
    """A draw by a generator in main memory, the same on every device; the mean itself without one."""
    if generator is None:
        return mean
    noise = torch.randn(mean.shape, generator=generator).to(mean)
    return mean + noise * torch.exp(0.5 * log_variance)
