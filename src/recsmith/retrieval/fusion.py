"""Several ranked lists of the same question as one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsmith.errors import UserError
from recsmith.protocols import RankedLists


def reciprocal_rank_fusion(
    lists: Sequence[RankedLists], k: int, *, weights: Sequence[float] | None = None, constant: float = 60.0
) -> RankedLists:
    """Each id scores Σ weight / (`constant` + rank) over the lists that hold it (Cormack, Clarke and Büttcher, SIGIR 2009).

    Only ranks count, so lists whose scores mean different things may be mixed. `weights`: one per list, 1 each by default. Equal scores
    go to the smaller id. Raises `UserError` when there is no list, or weights or rows do not fit.
    """
    if not lists:
        raise UserError("there is no list to fuse; give at least one")
    weights = [1.0] * len(lists) if weights is None else list(weights)
    if len(weights) != len(lists) or any(not weight >= 0 for weight in weights):
        raise UserError(f"weights {weights} do not fit {len(lists)} lists; give one number ≥ 0 for each")
    rows = len(lists[0].items)
    if any(len(some.items) != rows for some in lists):
        raise UserError(f"lists of {[len(some.items) for some in lists]} rows cannot be fused; ask all sources the same question")
    items = np.concatenate([some.items for some in lists], axis=1)
    shares = [weight / (constant + np.arange(1, some.items.shape[1] + 1)) for weight, some in zip(weights, lists)]
    scores = np.concatenate(shares)
    fused = RankedLists(np.full((rows, k), -1, dtype=np.int64), np.full((rows, k), -np.inf, dtype=np.float32))
    for row in range(rows):
        found, place = np.unique(items[row], return_inverse=True)
        total = np.bincount(place, weights=scores, minlength=len(found))
        real = found >= 0
        found, total = found[real], total[real]
        best = np.lexsort((found, -total))[:k]
        fused.items[row, : len(best)], fused.scores[row, : len(best)] = found[best], total[best]
    return fused
