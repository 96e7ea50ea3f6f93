"""Free text → a ranking of the whole catalogue: distance of vectors and popularity, as in BIGRec."""

from __future__ import annotations

import numpy as np
import torch

from recsmith.decoding.ranking import top_k
from recsmith.errors import UserError
from recsmith.protocols import Limits, RankedLists

_NO_LIMITS = Limits()


def rank_by_distance(
    texts: np.ndarray,
    items: np.ndarray,
    k: int,
    *,
    popularity: np.ndarray | None = None,
    strength: float = 0.0,
    limits: Limits = _NO_LIMITS,
) -> RankedLists:
    """Rank items by how near their vectors are to the vectors of generated texts (Bao et al., 2023: A bi-step grounding paradigm for
    large language models in recommendation systems).

    `texts` float32 `[row, dim]` and `items` float32 `[item, dim]` come from one encoder. Euclidean distances are scaled to 0 … 1 in
    each row and divided by (1 + popularity)^`strength`, popularity scaled to 0 … 1 as well; `strength` 0 leaves it out. Scores are the
    negative results. Deviations: any text encoder in the place of the tuned model's own embeddings; popularity from training events.
    """
    return top_k(distance_scores(texts, items, popularity=popularity, strength=strength), k, limits=limits)


def distance_scores(texts: np.ndarray, items: np.ndarray, *, popularity: np.ndarray | None = None, strength: float = 0.0) -> torch.Tensor:
    """What `rank_by_distance` ranks by: float32 `[row, item]`, 0 at best."""
    if texts.shape[1] != items.shape[1]:
        raise UserError(f"vectors of texts have {texts.shape[1]} numbers, those of items {items.shape[1]}; use one encoder for both")
    distances = torch.cdist(torch.from_numpy(texts).float(), torch.from_numpy(items).float())
    scaled = _scaled(distances)
    if popularity is not None and strength:
        share = _scaled(torch.from_numpy(np.asarray(popularity, dtype=np.float32))[None])
        scaled = scaled / (1 + share) ** strength
    return -scaled


def _scaled(values: torch.Tensor) -> torch.Tensor:
    """Each row from 0 to 1; rows of equal values become 0."""
    low, high = values.amin(dim=1, keepdim=True), values.amax(dim=1, keepdim=True)
    return (values - low) / (high - low).clamp(min=1e-12)
