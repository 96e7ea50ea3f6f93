"""A small U-Net over the places of a short sequence of vectors: once at full length, once at half, and back."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class SequenceUnet(nn.Module):
    """Vectors `[row, place, dim]` and a context `[row, dim]` → vectors alike; every place sees its neighbours and the context."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.context = nn.Linear(dim, 2 * dim)
        self.inwards = _Block(dim, dim)
        self.middle = _Block(dim, 2 * dim)
        self.narrow = nn.Conv1d(2 * dim, dim, 1)
        self.outwards = _Block(2 * dim, dim)
        self.last = nn.Conv1d(dim, dim, 1)

    def forward(self, sequence: Tensor, context: Tensor) -> Tensor:
        """The context is added at both lengths."""
        whole, half = functional.silu(context), self.context(functional.silu(context))
        outer = self.inwards(sequence.transpose(1, 2) + whole[:, :, None])
        inner = self.middle(functional.avg_pool1d(outer, 2, ceil_mode=True)) + half[:, :, None]
        back = functional.interpolate(self.narrow(functional.silu(inner)), size=outer.shape[2])
        return self.last(self.outwards(torch.cat([outer, back], dim=1))).transpose(1, 2)


class _Block(nn.Module):
    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(inside, outside, 3, padding=1)
        self.norm = nn.GroupNorm(1, outside)
        self.second = nn.Conv1d(outside, outside, 3, padding=1)
        self.skip = nn.Conv1d(inside, outside, 1)

    def forward(self, channels: Tensor) -> Tensor:
        return self.second(functional.silu(self.norm(self.first(channels)))) + self.skip(channels)
