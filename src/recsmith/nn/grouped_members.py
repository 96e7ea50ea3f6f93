"""Groups that are judged by their best members: late fusion. Letters of the shapes: `member` = all members, `slot` = most in one group."""

from __future__ import annotations

import torch
from torch import Tensor


def group_slots(owners: Tensor, groups: int) -> Tensor:
    """Members of each group, int64 `[group, slot]`, -1 where there are no more; `owners` int64 `[member]` says whose each one is."""
    counts = torch.bincount(owners, minlength=groups)
    order = owners.argsort(stable=True)
    starts = counts.cumsum(0) - counts
    places = torch.arange(len(owners), device=owners.device) - starts[owners[order]]
    slots = owners.new_full((groups, int(counts.max()) if len(owners) else 0), -1)
    slots[owners[order], places] = order
    return slots


def best_of_groups(values: Tensor, slots: Tensor, best: int) -> Tensor:
    """Mean of the `best` highest values of each group's members (of all, where it has fewer), `[row, group]`; 0 for a group without any.

    `values` `[row, member]`, `slots` int64 `[group, slot]` as `group_slots` gives them.
    """
    if not slots.numel():
        return values.new_zeros(len(values), len(slots))
    there = slots >= 0
    found = values[:, slots.clamp(min=0)].masked_fill(~there, -torch.inf)
    top = found.topk(min(best, slots.shape[1]), dim=2).values
    counts = there.sum(1).clamp(max=top.shape[2])
    return top.masked_fill(top == -torch.inf, 0.0).sum(2) / counts.clamp(min=1)
