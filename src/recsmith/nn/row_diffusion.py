"""Diffusion of whole rows: a network that sees a noisy row and the step restores the clean one (Wang et al., 2023: DiffRec).

Letters of the shapes: `row` = rows of the batch, `width` = numbers per row (items of a catalogue, or the axes of a latent space).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Self

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional

from recsmith.config import Config
from recsmith.nn.diffusion import GaussianDiffusion, StepSampler, linear_variance, step_embedding


class RowDiffusionConfig(Config):
    """Sizes and noise of a diffusion of rows; models add their own settings to these."""

    hidden: list[PositiveInt] = Field(default=[1000], min_length=1)
    """Widths of the denoising network's hidden layers, from the row inwards; their mirror image leads out."""
    step_dim: int = Field(default=10, ge=2, multiple_of=2)
    """Width of the embedding of the diffusion step."""
    dropout: float = Field(default=0.5, ge=0, lt=1)
    """Share of the noisy input that is zeroed in training."""
    normalise: bool = False
    """Whether the network sees its input scaled to length 1."""
    steps: int = Field(default=5, ge=1)
    """Diffusion steps (the paper's T)."""
    noise_scale: float = Field(default=0.01, gt=0, le=1)
    """Factor of both noise bounds (the paper's s)."""
    noise_low: float = Field(default=0.0005, gt=0, lt=1)
    """Variance of the noise at the first step, before `noise_scale`."""
    noise_high: float = Field(default=0.005, gt=0, lt=1)
    """Variance of the noise at the last step, before `noise_scale`."""
    reweight: bool = True
    """Weigh each step by the drop in its ratio of signal to noise, as the evidence lower bound does; otherwise all alike."""
    importance: bool = True
    """Draw steps with larger losses more often."""

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.noise_high < self.noise_low:
            raise ValueError(f"`noise_high` = {self.noise_high} is below `noise_low` = {self.noise_low}; noise must not fall")
        return self


class RowDiffusion(nn.Module):
    """The noise, the network that undoes it, and how both are trained and walked back."""

    step_weights: Tensor
    """Weight of each diffusion step in the loss, `[step]`."""

    def __init__(self, config: RowDiffusionConfig, *, width: int) -> None:
        super().__init__()
        self.config = config
        low, high = config.noise_scale * config.noise_low, config.noise_scale * config.noise_high
        self.diffusion = GaussianDiffusion(linear_variance(config.steps, lowest=low, highest=high))
        self.sampler = StepSampler(config.steps)
        self.register_buffer("step_weights", self._step_weights(), persistent=False)
        self.step = nn.Linear(config.step_dim, config.step_dim)
        widths = [width + config.step_dim, *config.hidden, *reversed(config.hidden[:-1]), width]
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(widths))
        for layer in [self.step, *self.layers]:
            nn.init.xavier_normal_(layer.weight)
            nn.init.normal_(layer.bias, std=0.001)

    def losses(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        """`[row, width]` → squared error of each restored row, summed and weighted for its drawn step, `[row]`, and the restored rows.

        Gradients reach `clean` through what is restored, not as the target, or the error could fall by shrinking it.
        """
        steps, factors = self._draw(len(clean), clean.device)
        restored = self.restore(self.diffusion.corrupt(clean, steps, torch.randn_like(clean)), steps)
        errors = (restored - clean.detach()).square().sum(1) * self.step_weights[steps]
        if self.training and self.config.importance:
            self.sampler.record(steps, errors.detach())
        return errors * factors, restored

    def walk_back(self, current: Tensor) -> Tensor:
        """`[row, width]`, taken for rows of the last step, back through the means of all posterior steps, without noise."""
        for step in reversed(range(self.config.steps)):
            steps = torch.full((len(current),), step, device=current.device)
            current = self.diffusion.posterior_mean(self.restore(current, steps), current, steps)
        return current

    def restore(self, noisy: Tensor, steps: Tensor) -> Tensor:
        """Noisy rows `[row, width]` and their steps `[row]` → the clean rows that they seem to come from."""
        if self.config.normalise:
            noisy = functional.normalize(noisy)
        noisy = functional.dropout(noisy, self.config.dropout, self.training)
        hidden = torch.cat([noisy, self.step(step_embedding(steps, self.config.step_dim))], dim=1)
        for layer in self.layers[:-1]:
            hidden = torch.tanh(layer(hidden))
        return self.layers[-1](hidden)

    def _draw(self, rows: int, device: torch.device) -> tuple[Tensor, Tensor]:
        if self.config.importance:
            return self.sampler.draw(rows)
        return torch.randint(self.config.steps, (rows,), device=device), torch.ones(rows, device=device)

    def _step_weights(self) -> Tensor:
        """(SNR at t - 1) - (SNR at t), and for the first step 1; over their mean, `[step]`."""
        ratio = self.diffusion.signal_to_noise
        weights = torch.cat([ratio.new_ones(1), ratio[:-1] - ratio[1:]])
        return weights / weights.mean() if self.config.reweight else torch.ones_like(weights)
