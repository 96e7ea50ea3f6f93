"""`Limits` as tensors: which items are allowed for all, which (row, item) pairs are forbidden."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recsmith.data import Histories
from recsmith.protocols import Limits

NO_LIMITS = Limits()
"""Everything is allowed."""


def allowed_items(limits: Limits, items: int, device: torch.device) -> Tensor:
    """Bool `[item]`; raises `ValueError` when the given mask has another length."""
    if limits.allowed is None:
        return torch.ones(items, dtype=torch.bool, device=device)
    allowed = np.asarray(limits.allowed, dtype=bool)
    if allowed.shape != (items,):
        raise ValueError(f"the mask of allowed items has shape {allowed.shape}, but the catalogue has {items} items")
    return torch.from_numpy(allowed).to(device)


def excluded_pairs(exclude: Histories, rows: int, items: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Row and item, each `[pair]`, of what is forbidden; unknown items (-1) are skipped, repeats stay."""
    if len(exclude) != rows:
        raise ValueError(f"there are {len(exclude)} rows of excluded items for a batch of {rows}")
    known = exclude.values >= 0
    row, item = exclude.rows[known], exclude.values[known]
    if len(item) and item.max() >= items:
        raise ValueError(f"excluded item {item.max()} is outside a catalogue of {items} items")
    return torch.from_numpy(row).to(device), torch.from_numpy(item).to(device)
