"""DiffuRec: items are distributions; a noisy target rides on the history, and a transformer restores the target (Li et al., 2023)."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.nn.causal_encoder import CausalEncoder, CausalEncoderConfig, initialise_normal
from recsmith.nn.diffusion import GaussianDiffusion, cosine_variance, step_embedding
from recsmith.nn.losses import fused_cross_entropy
from recsmith.nn.next_step import final_states, random_prefixes
from recsmith.nn.packed import row_ids
from recsmith.protocols import HistoryBatch


class DiffuRecConfig(CausalEncoderConfig):
    """Size, noise and regularisation of DiffuRec."""

    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of values dropped, in the input and the two parts of each block."""
    steps: int = Field(32, ge=1)
    """Diffusion steps."""
    spread: float = Field(0.001, gt=0)
    """Mean and standard deviation of the factor with which the noisy target is added to each event (the paper's δ)."""


class DiffuRec(nn.Module):
    """Adds λ · (noisy target + step) to every event of the history, λ drawn per event; the last state is the restored target.

    Paper: Li, Sun & Li, "DiffuRec: A Diffusion Model for Sequential Recommendation", ACM TOIS 42(3), 2023. The loss is the
    cross-entropy of the restored vector against all items. The way back starts at noise, and each step restores anew.

    Deviations: one target per history and step, at a place drawn at random rather than always the last, which makes use of whole
    histories; the transformer is causal; answers are the same every time (λ is its mean, noise is left out, so the way back starts at
    zero); a cosine schedule in place of a truncated linear one; a learned start stands for the empty history.
    """

    Config: ClassVar[type[Config]] = DiffuRecConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(self, config: DiffuRecConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.items = nn.Embedding(items, config.dim)
        self.encoder = CausalEncoder(config)
        self.start = nn.Parameter(torch.zeros(config.dim))
        self.diffusion = GaussianDiffusion(cosine_variance(config.steps))
        self.step = nn.Linear(2 * ((config.dim + 1) // 2), config.dim)
        self.apply(partial(initialise_normal, std=config.init_std))

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean cross-entropy of one event per row, given those before it and its own noisy vector; 0 for a batch without events."""
        filled = batch.offsets.diff() > 0
        if not filled.any():
            return self.start.sum() * 0
        target, before, offsets = random_prefixes(batch.offsets, tokens=len(batch.items), longest=self.config.max_history)
        targets, inputs = batch.items[target], batch.items[before]
        clean = self.items(targets)
        steps = torch.randint(self.config.steps, [len(targets)], device=targets.device)
        noisy = self.diffusion.corrupt(clean, steps, torch.randn_like(clean))
        restored = self._restore(inputs, offsets, noisy, steps)
        return fused_cross_entropy(restored, self.items.weight, targets)

    def score(self, batch: HistoryBatch) -> Tensor:
        """Scores `[batch, item]`: inner products with the restored vector."""
        current = self.items.weight.new_zeros(len(batch), self.config.dim)
        for step in reversed(range(self.config.steps)):
            steps = torch.full((len(batch),), step, device=current.device)
            clean = self._restore(batch.items, batch.offsets, current, steps)
            current = self.diffusion.posterior_mean(clean, current, steps)
        return current @ self.items.weight.T

    def _restore(self, items: Tensor, offsets: Tensor, noisy: Tensor, steps: Tensor) -> Tensor:
        """Packed histories and one noisy vector per row `[row, dim]` → restored vectors `[row, dim]`."""
        rider = noisy + self.step(step_embedding(steps, self.step.in_features).to(noisy.dtype))

        def encode(index: Tensor, kept: Tensor) -> Tensor:
            vectors = self.items(items[index])
            share = torch.full_like(vectors[:, :1], self.config.spread)
            if self.training:
                share = share + self.config.spread * torch.randn_like(share)
            return self.encoder(vectors + share * rider[row_ids(kept, tokens=len(index))], kept)

        return final_states(encode, offsets, tokens=len(items), longest=self.config.max_history, start=self.start)
