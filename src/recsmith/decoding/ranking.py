"""Exact top-k of whole score rows, with a tie rule that does not depend on the machine."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recsmith.decoding.limits import allowed_items, excluded_pairs
from recsmith.errors import UserError
from recsmith.protocols import Limits, RankedLists

NO_LIMITS = Limits()


@torch.no_grad()
def top_k(scores: Tensor, k: int, *, limits: Limits = NO_LIMITS) -> RankedLists:
    """The k best items of each row of `scores` `[batch, item]`, best first; equal scores go to the smaller item index.

    Exact, also where several items tie for the last place. Items with score -inf are never answered; rows with fewer than k
    items left end in item -1 with score -inf. Raises `UserError` when a score is NaN, `ValueError` when limits do not fit.
    """
    if k < 1:
        raise ValueError(f"k = {k} items cannot be answered; ask for at least 1")
    if scores.isnan().any():
        rows = int(scores.isnan().any(dim=1).sum())
        raise UserError(f"the scores of {rows} of {len(scores)} rows are NaN; the model diverged: lower its learning rate and fit again")
    rows, items = scores.shape
    masked = _masked(scores, limits)
    index = select_top(masked, min(k, items))
    values, order = masked.gather(1, index).sort(dim=1, descending=True, stable=True)
    return padded_lists(index.gather(1, order), values, k)


def select_top(scores: Tensor, k: int) -> Tensor:
    """Positions of the k largest of each row `[row, n]`, in *ascending position* `[row, k]`; ties take the smaller position."""
    values, index = scores.topk(k, dim=1)
    index = index.sort(dim=1).values
    if k == 0 or k == scores.shape[1]:
        return index
    threshold = values[:, -1:]
    crowded = ((scores >= threshold).count_nonzero(dim=1) > k) & (threshold[:, 0] > -torch.inf)
    if crowded.any():
        index[crowded] = _first_of_ties(scores[crowded], threshold[crowded], k)
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


def _masked(scores: Tensor, limits: Limits) -> Tensor:
    rows, items = scores.shape
    masked = scores.clone()
    if limits.allowed is not None:
        masked[:, ~allowed_items(limits, items, scores.device)] = -torch.inf
    if limits.exclude is not None:
        row, item = excluded_pairs(limits.exclude, rows, items, scores.device)
        masked[row, item] = -torch.inf
    return masked
