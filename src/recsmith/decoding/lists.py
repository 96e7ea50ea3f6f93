"""The best positions of score rows with a tie rule that does not depend on the machine, and lists of equal length."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recsmith.protocols import RankedLists


def select_top(scores: Tensor, k: int) -> Tensor:
    """Positions of the k largest of each row `[row, n]`, in *ascending position* `[row, k]`; ties take the smaller position."""
    if k == 0 or k >= scores.shape[1]:
        return torch.arange(k, device=scores.device).expand(len(scores), k)
    values, index = scores.topk(k + 1, dim=1)
    threshold = values[:, k - 1 : k]
    crowded = (threshold == values[:, k:]) & (threshold > -torch.inf)
    index = index[:, :k].sort(dim=1).values
    if crowded.any():
        rows = crowded[:, 0]
        index[rows] = _first_of_ties(scores[rows], threshold[rows], k)
    return index


def padded_lists(items: Tensor, scores: Tensor, k: int) -> RankedLists:
    """Items and scores `[row, ≤ k]`, best first, as lists of length k; entries of score -inf become item -1."""
    rows, width = items.shape
    answer = RankedLists(np.full((rows, k), -1, dtype=np.int64), np.full((rows, k), -np.inf, dtype=np.float32))
    answer.scores[:, :width] = scores.float().cpu().numpy()
    answer.items[:, :width] = items.masked_fill(scores == -torch.inf, -1).cpu().numpy()
    return answer


def _first_of_ties(scores: Tensor, threshold: Tensor, k: int) -> Tensor:
    """`select_top` for rows in which more items reach the threshold than there are places."""
    above, level = scores > threshold, scores == threshold
    places = k - above.count_nonzero(dim=1)
    kept = above | (level & (level.cumsum(dim=1) <= places[:, None]))
    return kept.nonzero()[:, 1].view(len(scores), k)
