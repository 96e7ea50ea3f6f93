"""What changed in the semantic IDs from one run to another."""

from __future__ import annotations

from typing import Any

import numpy as np

from recsmith.item_tokenizers.collisions import prefix_groups
from recsmith.run_folder import RunState
from recsmith.tokens.reading import codes_of, collisions


def diff_tokens(old: RunState, new: RunState) -> dict[str, Any]:
    """What became of the items' codes from one run to another; items are matched by raw id.

    `changed` counts items in both with other learned codes, `changed_by_level` the share with another code at each level that both
    have. Retrained codebooks number their codes anew, so `kept_company` says what is left of the grouping itself: the share of pairs
    of items with equal codes up to a level that have equal codes there in the new run too (None without such pairs).
    """
    before, after = codes_of(old), codes_of(new)
    index = new.log.items.indices(old.log.items.ids)
    common = index >= 0
    left, right = before.table[common], after.table[index[common]]
    levels = min(before.levels, after.levels) - 1
    learned_differ = before.levels != after.levels or (left[:, :-1] != right[:, :-1]).any(axis=1)
    changed = int(np.broadcast_to(learned_differ, len(left)).sum())
    return {
        "sizes": {"old": list(before.sizes), "new": list(after.sizes)},
        "items": {"old": len(before), "new": len(after), "common": len(left)},
        "added": len(after) - len(left),
        "removed": len(before) - len(left),
        "changed": changed,
        "changed_share": changed / len(left) if len(left) else None,
        "changed_by_level": [float((left[:, level] != right[:, level]).mean()) if len(left) else None for level in range(levels)],
        "changed_collision_code": _other_digit(left, right, learned_differ),
        "kept_company": [_kept_company(left[:, : level + 1], right[:, : level + 1]) for level in range(levels)],
        "collisions": {"old": collisions(before), "new": collisions(after)},
    }


def _other_digit(left: np.ndarray, right: np.ndarray, learned_differ: bool | np.ndarray) -> int:
    """Items with the same learned codes and another code at the collision level."""
    return int((~np.broadcast_to(learned_differ, len(left)) & (left[:, -1] != right[:, -1])).sum())


def _kept_company(left: np.ndarray, right: np.ndarray) -> float | None:
    if not len(left):
        return None
    old, new = prefix_groups(left), prefix_groups(right)
    pairs = _pairs(np.bincount(old))
    return _pairs(np.unique(np.column_stack([old, new]), axis=0, return_counts=True)[1]) / pairs if pairs else None


def _pairs(counts: np.ndarray) -> float:
    return float((counts.astype(np.float64) * (counts - 1) / 2).sum())
