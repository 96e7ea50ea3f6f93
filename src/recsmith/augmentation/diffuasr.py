"""DiffuASR: a guided diffusion writes the events that could have come before a short history (Liu et al., 2023)."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from recsmith.augmentation.parts import WriterConfig, known_items, learned, open_places, packed, short_histories
from recsmith.data import Histories
from recsmith.nn.causal_encoder import CausalEncoder, CausalEncoderConfig
from recsmith.nn.diffusion import GaussianDiffusion, cosine_variance, step_embedding
from recsmith.nn.losses import fused_cross_entropy
from recsmith.nn.next_step import final_states
from recsmith.nn.packed import offsets_from, positions, row_ids
from recsmith.nn.sequence_unet import SequenceUnet
from recsmith.protocols import HistoryBatch, Progress


class DiffuAsrConfig(WriterConfig):
    """Sizes, noise and guidance of DiffuASR."""

    dim: int = Field(64, ge=2, multiple_of=2)
    """Width of item vectors."""
    layers: int = Field(1, ge=1)
    """Transformer blocks of the encoder that reads the history."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Share of values dropped in that encoder."""
    max_history: int = Field(50, ge=1)
    """Events of the history that guide the writing, at most."""
    steps: int = Field(30, ge=1)
    """Diffusion steps."""
    unguided: float = Field(0.1, ge=0, lt=1)
    """Share of training histories whose guide is hidden, so that the network can also write for nobody in particular."""
    guidance: float = Field(1.0, ge=0)
    """How far what is written for the person is pushed away from what is written for nobody (the paper's γ)."""


class _Denoiser(nn.Module):
    """Noisy vectors of `events` places, their step and the history that comes after → the clean vectors."""

    def __init__(self, config: DiffuAsrConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.items = nn.Embedding(items, config.dim)
        self.encoder = CausalEncoder(
            CausalEncoderConfig(
                dim=config.dim, layers=config.layers, heads=1, hidden=2 * config.dim, dropout=config.dropout, max_history=config.max_history
            )
        )
        self.nobody = nn.Parameter(torch.zeros(config.dim))
        self.step = nn.Linear(config.dim, config.dim)
        self.diffusion = GaussianDiffusion(cosine_variance(config.steps))
        self.unet = SequenceUnet(config.dim)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Squared error of the restored vectors and cross-entropy of the items that they stand for, means over written places."""
        target, there, guide, offsets = _cut(batch.offsets, tokens=len(batch.items), events=self.config.events)
        if not there.any():
            return self.nobody.sum() * 0
        items = batch.items[target]
        clean = self.vectors(items) * there[:, :, None]
        steps = torch.randint(self.config.steps, [len(clean)], device=clean.device)
        noisy = self.diffusion.corrupt(clean, steps, torch.randn_like(clean)) * there[:, :, None]
        context = self.guide(batch.items[guide], offsets)
        hidden = torch.rand(len(context), 1, device=context.device) < self.config.unguided
        restored = self.restore(noisy, steps, torch.where(hidden, self.nobody, context))[there]
        error = functional.mse_loss(restored, clean[there].detach())
        return error + fused_cross_entropy(restored, self.table(), items[there])

    def vectors(self, items: Tensor) -> Tensor:
        """Item vectors of mean 0 and variance 1, `[…, dim]`."""
        return functional.layer_norm(self.items(items), [self.config.dim])

    def table(self) -> Tensor:
        """What scores items against a restored vector, `[item, dim]`."""
        return self.vectors(torch.arange(self.items.num_embeddings, device=self.items.weight.device)) * self.config.dim**-0.5

    def guide(self, items: Tensor, offsets: Tensor) -> Tensor:
        """Packed histories → one vector per row, `[row, dim]`."""
        return final_states(
            lambda index, kept: self.encoder(self.items(items[index]), kept),
            offsets,
            tokens=len(items),
            longest=self.config.max_history,
            start=self.nobody,
        )

    def restore(self, noisy: Tensor, steps: Tensor, context: Tensor) -> Tensor:
        """`[row, place, dim]`, int64 `[row]`, `[row, dim]` → clean vectors `[row, place, dim]`."""
        return self.unet(noisy, context + self.step(step_embedding(steps, self.config.dim).to(context.dtype)))

    @torch.no_grad()
    def written(self, batch: HistoryBatch, random: torch.Generator) -> Tensor:
        """Scores of all items at every place before the histories, `[row, place, item]`."""
        context = self.guide(batch.items, batch.offsets)
        nobody, weight = self.nobody.expand_as(context), self.config.guidance

        def restore(noisy: Tensor, steps: Tensor) -> Tensor:
            return (1 + weight) * self.restore(noisy, steps, context) - weight * self.restore(noisy, steps, nobody)

        noise = torch.randn(len(batch), self.config.events, self.config.dim, generator=random)
        return self.diffusion.descend(restore, noise, strides=self.config.steps) @ self.table().T


class DiffuAsr:
    """Writes the places before a short history by walking back from noise, guided by the history itself.

    Paper: Liu, Yan, Zhao, Du, Guo, Tang & Tian, "Diffusion Augmentation for Sequential Recommendation", CIKM 2023
    (arXiv:2309.12858): a U-Net over a sequence of item vectors, trained to restore the events before a history from noise, guided
    without a classifier; restored vectors are rounded to the nearest item.

    Deviations: item vectors are learned together with the diffusion (the paper takes a trained recommender's), which adds a cross-entropy
    to the squared error; the events to restore are cut at a random place of a history rather than at its start, so that histories of any
    length teach; convolutions run over places with vectors as channels; a cosine schedule walked back without noise; no item is written
    twice for a person or where they have it already.
    """

    Config: ClassVar[type[DiffuAsrConfig]] = DiffuAsrConfig

    def __init__(self, config: DiffuAsrConfig) -> None:
        self.config = config

    def write(self, train: Histories, *, items: int, seed: int, progress: Progress | None = None) -> tuple[Histories, np.ndarray]:
        """See `Augmenter`."""
        random = torch.Generator().manual_seed(seed)
        net = learned(
            partial(_Denoiser, self.config, items=items),
            train,
            self.config,
            seed=seed,
            progress=progress,
            window=self.config.max_history + self.config.events,
        )
        known = known_items(train, items)
        parts = [
            (rows, _rounded(net.written(batch, random), open_places(batch, known)))
            for rows, batch in short_histories(train, self.config, items=items)
        ]
        histories = packed(len(train), parts)
        return histories, np.zeros(len(histories.values), dtype=np.int64)

    def figures(self) -> dict[str, Any]:
        """Nothing beyond the settings."""
        return {}


def _cut(offsets: Tensor, *, tokens: int, events: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of each row with two events or more: up to `events` events in a row from a random place on, and those that come after.

    Returns the index of the former int64 `[row, event]` (flush right) with a mask of those that are there, and the index of the latter
    `[token]` with their offsets `[row + 1]`; there is at least one of either.
    """
    lengths = offsets.diff()
    chosen = lengths >= 2
    count = (lengths - 1).clamp(min=0, max=events)
    start = (torch.rand(len(lengths), device=offsets.device) * (lengths - count)).long()
    stop = torch.where(chosen, start + count, lengths)
    places = torch.arange(events, device=offsets.device)
    there = (places >= events - count[:, None])[chosen]
    target = ((offsets[:-1] + stop)[:, None] - events + places)[chosen]
    after = positions(offsets, tokens=tokens) >= stop[row_ids(offsets, tokens=tokens)]
    return target.clamp(min=0), there, after.nonzero().squeeze(1), offsets_from((lengths - stop)[chosen])


def _rounded(scores: Tensor, allowed: Tensor) -> Tensor:
    """Scores `[row, place, item]` → the best allowed item of each place that no later place took, -1 where none is left."""
    written = torch.full(scores.shape[:2], -1)
    allowed = allowed.clone()
    for place in reversed(range(scores.shape[1])):
        best, items = scores[:, place].masked_fill(~allowed, float("-inf")).max(1)
        written[:, place] = items.masked_fill(best == float("-inf"), -1)
        allowed[torch.arange(len(allowed)), items] = False
    return written
