"""DiffRec: a person's item set, blurred a little and restored by a denoising network (Wang et al. 2023)."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional

from recsmith.config import Config
from recsmith.nn.diffusion import GaussianDiffusion, StepSampler, linear_variance, step_embedding
from recsmith.nn.packed import reversed_positions, row_ids
from recsmith.protocols import HistoryBatch


class DiffRecConfig(Config):
    """Sizes and noise of DiffRec."""

    hidden: list[PositiveInt] = Field(default=[1000], min_length=1)
    """Widths of the denoising network's hidden layers, from the items inwards; their mirror image leads out."""
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
    oldest_weight: float = Field(default=1.0, ge=0, le=1)
    """What the oldest event of a history counts in its row, rising evenly to 1 for the newest; below 1 this is T-DiffRec."""

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.noise_high < self.noise_low:
            raise ValueError(f"`noise_high` = {self.noise_high} is below `noise_low` = {self.noise_low}; noise must not fall")
        return self


class DiffRec(nn.Module):
    """Adds a little Gaussian noise to the 0/1 row of a person's items, step by step, and learns to undo it.

    Paper: Wang, Xu, Feng, Lin, He & Chua, "Diffusion Recommender Model", SIGIR 2023: DiffRec, and with `oldest_weight` below 1
    T-DiffRec, in which recent events count more. The network predicts the clean row from a noisy one and the step; to answer, the
    history's row itself enters at the last step and goes back through the means of all posterior steps, without noise, so that
    answers are the same every time.

    Deviations: the answer starts from the row without noise (the paper's T' = 0). The weights of the steps are divided by their mean,
    which changes the size of the loss but not its minimum; losses for drawing steps are remembered as running means per step instead of
    the last ten. Rows are dense inside a batch, as noise is: `[batch, item]` and up to six arrays like it in training. The latent
    variant is not here.
    """

    Config: ClassVar[type[DiffRecConfig]] = DiffRecConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    step_weights: Tensor
    """Weight of each diffusion step in the loss, `[step]`."""

    def __init__(self, config: DiffRecConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.items = items
        low, high = config.noise_scale * config.noise_low, config.noise_scale * config.noise_high
        self.diffusion = GaussianDiffusion(linear_variance(config.steps, lowest=low, highest=high))
        self.sampler = StepSampler(config.steps)
        self.register_buffer("step_weights", self._step_weights(), persistent=False)
        self.step = nn.Linear(config.step_dim, config.step_dim)
        widths = [items + config.step_dim, *config.hidden, *reversed(config.hidden[:-1]), items]
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(widths))
        for layer in [self.step, *self.layers]:
            nn.init.xavier_normal_(layer.weight)
            nn.init.normal_(layer.bias, std=0.001)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Squared error of the restored row, summed over items and weighted by its diffusion step; mean over rows."""
        start = self._rows(batch)
        steps, factors = self._draw(len(batch), start.device)
        restored = self._restore(self.diffusion.corrupt(start, steps, torch.randn_like(start)), steps)
        errors = (restored - start).square().sum(1) * self.step_weights[steps]
        if self.training and self.config.importance:
            self.sampler.record(steps, errors.detach())
        return (errors * factors).sum() / max(len(batch), 1)

    def score(self, batch: HistoryBatch) -> Tensor:
        """`[batch, item]`: the row restored through all steps."""
        current = self._rows(batch)
        for step in reversed(range(self.config.steps)):
            steps = torch.full((len(batch),), step, device=current.device)
            current = self.diffusion.posterior_mean(self._restore(current, steps), current, steps)
        return current

    def _rows(self, batch: HistoryBatch) -> Tensor:
        """The batch's rows, `[batch, item]`: 0 or 1, or what the newest event of each item counts."""
        tokens, dtype = len(batch.items), self.step.weight.dtype
        owners = row_ids(batch.offsets, tokens=tokens)
        counts = torch.ones(tokens, dtype=dtype, device=batch.items.device)
        if self.config.oldest_weight < 1:
            age = reversed_positions(batch.offsets, tokens=tokens) / (batch.offsets.diff() - 1).clamp(min=1)[owners]
            counts = 1 - (1 - self.config.oldest_weight) * age.to(dtype)
        rows = torch.zeros(len(batch) * self.items, dtype=dtype, device=batch.items.device)
        return rows.scatter_reduce(0, owners * self.items + batch.items, counts, "amax").view(len(batch), self.items)

    def _restore(self, noisy: Tensor, steps: Tensor) -> Tensor:
        """Noisy rows `[batch, item]` and their steps `[batch]` → the clean rows they seem to come from."""
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
