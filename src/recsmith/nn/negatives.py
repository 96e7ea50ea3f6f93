"""Negatives: items drawn against a target, and the probability with which each was drawn where it is not the same for all.

Letters of the shapes: `token` = positions that predict an item, `negative` = items drawn. All draws come from torch's default generator.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

NegativeKind = Literal["uniform", "in-batch"]
"""All items alike, or the batch's own targets, which draws popular items more often."""


def shared_negatives(*, items: int, count: int, device: torch.device) -> Tensor:
    """`count` items drawn uniformly with replacement, the same for all tokens; int64 `[negative]`."""
    return torch.randint(items, (count,), device=device)


def uniform_negatives(targets: Tensor, *, items: int, count: int) -> Tensor:
    """`count` items other than the target, drawn uniformly with replacement per token; int64 `[token, negative]`."""
    drawn = torch.randint(max(items - 1, 1), (len(targets), count), device=targets.device)
    return drawn + (drawn >= targets[:, None]) if items > 1 else drawn


def log_uniform_negatives(*, items: int, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """`count` ranks drawn with P(rank) ∝ log((rank + 2) / (rank + 1)), shared by all tokens, and their log-probabilities.

    Right for items that are numbered by falling popularity; both results have shape `[negative]`.
    """
    drawn = (torch.rand(count, device=device).mul(torch.log(torch.tensor(items + 1.0, device=device))).exp() - 1.0).long()
    drawn = drawn.clamp(0, items - 1)
    ranks = drawn.to(torch.float32)
    normaliser = torch.log(torch.tensor(items + 1.0, device=device))
    return drawn, (torch.log1p(1.0 / (ranks + 1.0)) / normaliser).log()


def in_batch_negatives(targets: Tensor, *, count: int) -> tuple[Tensor, Tensor]:
    """Negatives drawn from the batch's own targets (popular items more often), shared by all tokens, and their log-probabilities."""
    drawn = targets[torch.randint(len(targets), (count,), device=targets.device)]
    frequency = torch.bincount(targets)
    return drawn, (frequency[drawn].float() / len(targets)).log()
