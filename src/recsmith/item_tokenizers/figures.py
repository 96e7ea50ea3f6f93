"""What item codes look like in numbers: collisions, usage, entropy. For the card of a run."""

from __future__ import annotations

from typing import Any

import numpy as np

from recsmith.data import ItemCodes
from recsmith.item_tokenizers.collisions import prefix_groups


def code_figures(codes: ItemCodes) -> dict[str, Any]:
    """Figures of codes whose last level is the collision level.

    `collision_rate` (share of items whose learned codes another item has too), `largest_collision` (items), `distinct_prefixes`, and
    per learned level `usage` (share of codes in use), `entropy_bits` and `perplexity` (2 to that power: codes in effective use).
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
    }


def _entropy(counts: np.ndarray) -> float:
    shares = counts[counts > 0] / max(1, counts.sum())
    return float(max(0.0, -(shares * np.log2(shares)).sum()))
