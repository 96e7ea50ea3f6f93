"""Diff4Rec: a diffusion in a latent space of people's item sets writes events, which enter training from easy to hard (Wu et al., 2023)."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from recsmith.augmentation.parts import WriterConfig, draw_distinct, known_items, learned, open_places, packed, short_histories
from recsmith.data import Histories
from recsmith.nn.bags import BagLinear, distinct, multinomial_loss, unit_weights
from recsmith.nn.latent import gaussian_divergence, sample
from recsmith.nn.row_diffusion import RowDiffusion, RowDiffusionConfig
from recsmith.protocols import HistoryBatch, Progress


class Diff4RecConfig(RowDiffusionConfig, WriterConfig):
    """Sizes, noise and curriculum of Diff4Rec."""

    hidden: list[PositiveInt] = Field(default=[128], min_length=1)
    """Widths of the denoising network's hidden layers, from the latent vector inwards; their mirror image leads out."""
    latent: int = Field(64, ge=1)
    """Width of the latent space."""
    item_dropout: float = Field(0.5, ge=0, lt=1)
    """Share of a history's items hidden from the encoder in training."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of the noisy latent vector that is zeroed in training."""
    noise_scale: float = Field(1.0, gt=0, le=1)
    """Factor of both noise bounds."""
    noise_high: float = Field(0.5, gt=0, lt=1)
    """Variance of the noise at the last step: how far a written history may stray from its origin."""
    kl_weight: float = Field(0.1, ge=0)
    """Weight of the divergence of the latent vectors from a standard normal."""
    diffusion_weight: float = Field(1.0, ge=0)
    """Weight of the squared error of the restored latent vector."""
    stages: int = Field(3, ge=1)
    """Stages of the curriculum: the surest of the written events enter first; 1 lets all in at once."""
    stage_epochs: int = Field(5, ge=0)
    """Epochs of the model's training between stages."""


class _LatentDiffusion(nn.Module):
    """Item set → Gaussian in the latent space → noise and back → logits over the catalogue."""

    def __init__(self, config: Diff4RecConfig, *, items: int) -> None:
        super().__init__()
        self.config, self.items = config, items
        self.encoder = BagLinear(items, 2 * config.latent)
        self.denoiser = RowDiffusion(config, width=config.latent)
        self.decoder = nn.Linear(config.latent, items)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        items, offsets = distinct(batch.items, batch.offsets, size=self.items)
        mean, log_variance = self.encode(items, offsets)
        errors, restored = self.denoiser.losses(sample(mean, log_variance, noisy=self.training))
        extra = self.config.kl_weight * gaussian_divergence(mean, log_variance).sum() + self.config.diffusion_weight * errors.sum()
        return (multinomial_loss(self.decoder(restored), items, offsets) + extra) / max(len(offsets) - 1, 1)

    def encode(self, items: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance `[row, latent]`."""
        weights = unit_weights(offsets, tokens=len(items), dtype=self.encoder.bias.dtype)
        weights = functional.dropout(weights, self.config.item_dropout, self.training)
        mean, log_variance = self.encoder(items, offsets, weights).chunk(2, dim=1)
        return mean, log_variance

    @torch.no_grad()
    def regenerated(self, items: Tensor, offsets: Tensor, random: torch.Generator) -> Tensor:
        """Log-probabilities `[row, item]` of rows that went all the way into the noise and back."""
        mean, _ = self.encode(items, offsets)
        last = torch.full((len(mean),), self.config.steps - 1)
        noisy = self.denoiser.diffusion.corrupt(mean, last, torch.randn(mean.shape, generator=random))
        return self.decoder(self.denoiser.walk_back(noisy)).log_softmax(1)


class Diff4Rec:
    """Corrupts and restores people's histories in a latent space and writes what the restored ones hold beyond the real ones.

    Paper: Wu, Wang, Chen, Li, Han, Sun & Zhu, "Diff4Rec: Sequential Recommendation with Curriculum-scheduled Diffusion Augmentation",
    ACM MM 2023: a diffusion trained to restore corrupted interactions in a latent space, whose predictions become extra interactions,
    fed to the recommender step by step by a curriculum.

    Deviations: the curriculum schedules events (the paper also schedules an extra objective inside the recommender, which cannot be part
    of a data set) by their log-probability under the diffusion, in `stages` of equal size over all people; written events stand before
    a person's own rather than among them.
    """

    Config: ClassVar[type[Diff4RecConfig]] = Diff4RecConfig

    def __init__(self, config: Diff4RecConfig) -> None:
        self.config = config
        self._figures: dict[str, Any] = {}

    def write(self, train: Histories, *, items: int, seed: int, progress: Progress | None = None) -> tuple[Histories, np.ndarray]:
        """See `Augmenter`."""
        random = torch.Generator().manual_seed(seed)
        net = learned(partial(_LatentDiffusion, self.config, items=items), train, self.config, seed=seed, progress=progress)
        known, parts, sureness = known_items(train, items), [], []
        for rows, batch in short_histories(train, self.config, items=items):
            likely = net.regenerated(*distinct(batch.items, batch.offsets, size=items), random)
            written = draw_distinct(likely, open_places(batch, known), count=self.config.events, random=random)
            parts.append((rows, written))
            sureness.append(likely.gather(1, written.clamp(min=0))[written >= 0])
        histories = packed(len(train), parts)
        # the rows of the batches ascend, so the values stand in the same order
        enters = self._stages(torch.cat(sureness).numpy() if sureness else np.zeros(0)) * self.config.stage_epochs
        self._figures = {"events by epoch of entry": {str(epoch): int((enters == epoch).sum()) for epoch in np.unique(enters)}}
        return histories, enters

    def figures(self) -> dict[str, Any]:
        """How many events enter when."""
        return self._figures

    def _stages(self, sureness: np.ndarray) -> np.ndarray:
        """Stage of each event, from 0 for the surest; int64 `[event]`."""
        ranks = np.argsort(np.argsort(-sureness, kind="stable"), kind="stable")
        return ranks * self.config.stages // max(len(ranks), 1)
