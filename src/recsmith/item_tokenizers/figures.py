"""What item codes look like in numbers: collisions, usage, entropy. For the card of a run."""

from __future__ import annotations

from typing import Any

import numpy as np

from recsmith.data import ItemCodes
from recsmith.item_tokenizers.collisions import prefix_groups

COLLAPSED = 0.1
"""Share of the codes that could be in use, below which a level is said to have collapsed."""


def code_figures(codes: ItemCodes) -> dict[str, Any]:
    """Figures of codes whose last level is the collision level.

    `collision_rate` (share of items whose learned codes another item has too), `largest_collision` (items), `distinct_prefixes`, and
    per learned level `usage` (share of codes in use), `entropy_bits` and `perplexity` (2 to that power: codes in effective use).
    `collapsed_levels` counts from 0; codes that spell words are left out of it, because most words stand in few names.
    """
    prefixes = codes.table[:, :-1]
    groups = np.bincount(prefix_groups(prefixes)) if len(codes) else np.zeros(0, dtype=np.int64)
    entropies = [_entropy(np.bincount(column)) for column in prefixes.T]
    return {
        "items": len(codes),
        "sizes": list(codes.sizes),
        "collision_rate": float(groups[groups > 1].sum() / max(1, len(codes))),
        "largest_collision": int(groups.max(initial=0)),
        "distinct_prefixes": len(groups),
        "usage": [len(np.unique(column)) / size for column, size in zip(prefixes.T, codes.sizes[:-1], strict=True)],
        "entropy_bits": entropies,
        "perplexity": [2.0**entropy for entropy in entropies],
        "collapsed_levels": [] if codes.words else _collapsed([2.0**entropy for entropy in entropies], codes),
    }


def _collapsed(perplexity: list[float], codes: ItemCodes) -> list[int]:
    """Levels with fewer codes in effective use than a tenth of those that so many items could use."""
    possible = [min(size, len(codes)) for size in codes.sizes[:-1]]
    return [level for level, used in enumerate(perplexity) if used < COLLAPSED * possible[level]]


def _entropy(counts: np.ndarray) -> float:
    shares = counts[counts > 0] / max(1, counts.sum())
    return float(max(0.0, -(shares * np.log2(shares)).sum()))
