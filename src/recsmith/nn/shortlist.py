"""A short list in front of all other items: how a ranker of candidates answers with scores of the whole catalogue."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def best_outside(scores: Tensor, rows: Sequence[Tensor], count: int) -> list[list[int]]:
    """The best items of each row outside of `rows` (items of its history), best first; equal scores go to the smaller item."""
    masked = scores.clone()
    for row, items in enumerate(rows):
        masked[row, items] = -torch.inf
    order = np.argsort(-masked.cpu().numpy(), axis=1, kind="stable")[:, :count]
    found = masked.gather(1, torch.from_numpy(order).to(scores.device)) > -torch.inf
    return [items[kept].tolist() for items, kept in zip(order, found.cpu().numpy(), strict=True)]


def squeezed(scores: Tensor) -> Tensor:
    """The scores squeezed into 0 … .5 in each row, equal ones staying equal, so that a short list with scores above 1 stands in front."""
    low, high = scores.amin(dim=1, keepdim=True), scores.amax(dim=1, keepdim=True)
    return (scores - low) / (high - low).clamp(min=1e-12) * 0.5
