"""What auto-encoders of whole slates share: their settings, slates as vectors, Gaussian heads, and the loss of all slots at once.

Letters of the shapes: `slate` = slates of a batch, `size` = slots of a slate, `dim` = width of an item vector.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from recsmith.nn.losses import fused_cross_entropy
from recsmith.nn.slates import SlateConfig, Slates


class SlateVaeConfig(SlateConfig):
    """Width, regularisation and annealing of a conditional VAE of slates; models add their own settings to these."""

    latent: int = Field(32, ge=1)
    """Width of the latent vector of a slate."""
    kl_weight: float = Field(0.3, ge=0)
    """Weight of the divergence between posterior and prior once annealing is over; 1 is the evidence lower bound."""
    annealing_steps: int = Field(1_000, ge=0)
    """Optimiser steps over which that weight grows from 0."""


class GaussianHead(nn.Module):
    """Vectors `[…, inputs]` → mean and log-variance of a latent Gaussian, `[…, latent]` each, through one hidden layer."""

    def __init__(self, inputs: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent))

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.net(inputs).chunk(2, dim=-1)
        return mean, log_variance.clamp(-10, 10)


class SlotDecoder(nn.Module):
    """A vector per slate → one output vector per slot, `[slate, size, dim]`, through one hidden layer; all slots at once.

    With `responses`, the network of a slot is shifted by what depends on the inputs where the slot is to be clicked.
    """

    def __init__(self, inputs: int, hidden: int, *, size: int, dim: int, responses: bool = False) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.clicked = nn.Linear(inputs, hidden) if responses else None
        self.slots = nn.Parameter(torch.randn(size, hidden) * 0.1)
        self.out = nn.Linear(hidden, dim)

    def forward(self, inputs: Tensor, clicks: Tensor | None = None) -> Tensor:
        """`inputs` `[slate, inputs]`, `clicks` float `[slate, size]` where the decoder knows responses."""
        hidden = self.first(inputs)[:, None] + self.slots
        if self.clicked is not None and clicks is not None:
            hidden = hidden + clicks[..., None] * self.clicked(inputs)[:, None]
        return self.out(hidden.relu())


def slate_vectors(table: nn.Embedding, slates: Slates) -> Tensor:
    """The item vectors of each slate side by side, `[slate, size · dim]`; zeros in empty slots."""
    return (table(slates.items.clamp(min=0)) * slates.filled[..., None]).flatten(1)


def slot_loss(outputs: Tensor, slates: Slates, wanted: Tensor, table: Tensor, bias: Tensor) -> Tensor:
    """Cross-entropy of the items of the `wanted` slots (bool `[slate, size]`), summed over the slots of a slate, mean over slates.

    The logits are those of `outputs` `[slate, size, dim]` with `table` `[item, dim]` and `bias` `[item]`.
    """
    targets = slates.items[wanted]
    return fused_cross_entropy(outputs[wanted], table, targets, bias=bias) * (len(targets) / max(len(slates), 1))
