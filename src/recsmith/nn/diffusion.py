"""Gaussian diffusion: noise schedules, the moments of its forward and backward steps, and how training steps are drawn.

Steps are counted from 0, the least noise, to `steps` - 1, the most. Letters of the shapes: `row` = examples, `step` = diffusion steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

Restore = Callable[[Tensor, Tensor], Tensor]
"""Noisy `[row, …]` and their steps int64 `[row]` → the clean ones that they seem to come from."""


def linear_variance(steps: int, *, lowest: float, highest: float) -> Tensor:
    """Variance of the noise at each step, rising evenly between two bounds inside (0, 1); float64 `[step]`."""
    return torch.linspace(lowest, highest, steps, dtype=torch.float64)


def cosine_variance(steps: int) -> Tensor:
    """Variance of the noise when the signal fades as a squared cosine (Nichol & Dhariwal, 2021); from 1e-5 to .999, float64 `[step]`."""
    times = torch.arange(1, steps + 1, dtype=torch.float64) / steps
    fade = torch.cos((times + 0.008) / 1.008 * torch.pi / 2).square() / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    return (1 - fade).clamp(min=1e-5, max=0.999)


class GaussianDiffusion(nn.Module):
    """q(x_t | x_0) = N(√signal_t · x_0, noise_t · I), with noise_t = 1 - signal_t, and what follows from it.

    Made from noise_t, float64 and ascending `[step]`. Everything is computed in float64, because 1 - noise_t has no digits left in
    float32 when the noise is as small as recommenders like it, and then rounded once. The buffers `[step]` are not saved.
    """

    signal_scale: Tensor
    """√signal_t."""
    noise_scale: Tensor
    """√noise_t."""
    start_share: Tensor
    """Weight of x_0 in the mean of q(x_{t-1} | x_t, x_0); 1 at step 0."""
    current_share: Tensor
    """Weight of x_t there; 0 at step 0."""
    posterior_variance: Tensor
    """Variance of q(x_{t-1} | x_t, x_0); 0 at step 0."""
    signal_to_noise: Tensor
    """signal_t / noise_t."""

    def __init__(self, noise: Tensor) -> None:
        super().__init__()
        noise = noise.double()
        before = torch.cat([noise.new_zeros(1), noise[:-1]])
        # q(x_t | x_{t-1}) keeps the share `kept` of the variance and adds 1 - kept
        kept = (1 - noise) / (1 - before)
        added = (noise - before) / (1 - before)
        values = {
            "signal_scale": (1 - noise).sqrt(),
            "noise_scale": noise.sqrt(),
            "start_share": (1 - before).sqrt() * added / noise,
            "current_share": kept.sqrt() * before / noise,
            "posterior_variance": added * before / noise,
            "signal_to_noise": (1 - noise) / noise,
        }
        for name, value in values.items():
            self.register_buffer(name, value.float(), persistent=False)

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.signal_scale)

    def corrupt(self, start: Tensor, steps: Tensor, noise: Tensor) -> Tensor:
        """A draw from q(x_t | x_0): `start` and standard normal `noise` `[row, …]`, `steps` int64 `[row]`."""
        return _per_row(self.signal_scale, steps, start) * start + _per_row(self.noise_scale, steps, start) * noise

    def posterior_mean(self, start: Tensor, current: Tensor, steps: Tensor) -> Tensor:
        """Mean of q(x_{t-1} | x_t, x_0) for x_0 = `start`, x_t = `current` `[row, …]` and `steps` int64 `[row]`."""
        return _per_row(self.start_share, steps, start) * start + _per_row(self.current_share, steps, start) * current

    def towards(self, start: Tensor, current: Tensor, step: Tensor, earlier: Tensor) -> Tensor:
        """From x_t = `current` at `step` straight to `earlier`, without noise (DDIM, Song et al., 2021); steps are scalars."""
        noise = (current - self.signal_scale[step] * start) / self.noise_scale[step]
        return self.signal_scale[earlier] * start + self.noise_scale[earlier] * noise

    def descend(self, restore: Restore, current: Tensor, *, strides: int) -> Tensor:
        """From `current` `[row, …]` at the last step to what is clean, in at most `strides` even strides, without noise."""
        steps = torch.linspace(self.steps - 1, 0, strides, device=current.device).round().long().unique().flip(0)
        for place, step in enumerate(steps):
            clean = restore(current, step.expand(len(current)))
            current = clean if place + 1 == len(steps) else self.towards(clean, current, step, steps[place + 1])
        return current


def _per_row(values: Tensor, steps: Tensor, like: Tensor) -> Tensor:
    return values[steps].view(-1, *[1] * (like.ndim - 1))


def step_embedding(steps: Tensor, dim: int) -> Tensor:
    """Cosines and sines of the step number at `dim` / 2 frequencies from 1 down to near 1 / 10,000; float32 `[row, dim]`, `dim` even."""
    half = dim // 2
    frequencies = torch.exp(torch.arange(half, device=steps.device) * (-math.log(10_000.0) / half))
    angles = steps[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class StepSampler(nn.Module):
    """Draws training steps more often where their loss is large, with weights that keep the mean loss unbiased.

    A step is drawn in proportion to the root of the running mean of its squared losses, mixed with a small uniform share; uniformly
    until every step has been met. The running means are buffers, so that a resumed training goes on with them.
    """

    squares: Tensor
    met: Tensor

    def __init__(self, steps: int, *, memory: float = 0.9, uniform: float = 0.001) -> None:
        """`memory` is the share of the running mean that survives a batch."""
        super().__init__()
        self.memory, self.uniform = memory, uniform
        self.register_buffer("squares", torch.zeros(steps))
        self.register_buffer("met", torch.zeros(steps, dtype=torch.bool))

    def probabilities(self) -> Tensor:
        """Probability of each step, `[step]`."""
        even = torch.full_like(self.squares, 1 / len(self.squares))
        roots = self.squares.sqrt()
        useful = self.met.all() & (roots.sum() > 0)
        skewed = roots / roots.sum().clamp(min=torch.finfo(roots.dtype).tiny)
        return torch.where(useful, (1 - self.uniform) * skewed + self.uniform * even, even)

    def draw(self, rows: int) -> tuple[Tensor, Tensor]:
        """Steps int64 `[row]`, and for each the factor of its loss, uniform probability / probability, `[row]`."""
        probabilities = self.probabilities()
        if not rows:
            return self.met.new_zeros(0, dtype=torch.int64), probabilities.new_zeros(0)
        steps = torch.multinomial(probabilities, rows, replacement=True)
        return steps, 1 / (len(probabilities) * probabilities[steps])

    @torch.no_grad()
    def record(self, steps: Tensor, losses: Tensor) -> None:
        """Remember the losses `[row]` of the steps `[row]`, without their factors."""
        counts = torch.bincount(steps, minlength=len(self.squares))
        means = torch.zeros_like(self.squares).index_add_(0, steps, losses.square().to(self.squares.dtype)) / counts.clamp(min=1)
        blended = torch.where(self.met, self.memory * self.squares + (1 - self.memory) * means, means)
        now = counts > 0
        self.squares.copy_(torch.where(now, blended, self.squares))
        self.met |= now
