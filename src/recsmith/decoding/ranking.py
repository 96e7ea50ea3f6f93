"""Exact top-k of whole score rows, with a tie rule that does not depend on the machine."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recsmith.decoding.filling import Found, fill_lists
from recsmith.decoding.limits import NO_LIMITS, allowed_items, excluded_pairs
from recsmith.decoding.lists import padded_lists, select_top
from recsmith.decoding.masks import Rules, check_size, distinct_rules
from recsmith.decoding.sampling import Sampled, sampled_scores
from recsmith.errors import UserError
from recsmith.protocols import Limits, RankedLists


@torch.no_grad()
def top_k(scores: Tensor, k: int, *, limits: Limits = NO_LIMITS, rules: Rules = None, sampled: Sampled | None = None) -> RankedLists:
    """The k best items of each row of `scores` `[batch, item]`, best first; equal scores go to the smaller item index.

    Exact, also where several items tie for the last place. Items with score -inf are never answered; rows with fewer than k
    items left end in item -1 with score -inf. `rules` (see `recsmith.decoding.rules`), one for all rows or one each, hold exactly;
    boosts are in the scores that are answered. `sampled` draws k items by the softmax of their scores instead; the lists then hold
    log-probabilities (see `recsmith.decoding.sampling`). Raises `UserError` when a score that counts is NaN, `ValueError` when limits
    or rules do not fit.
    """
    if k < 1:
        raise ValueError(f"k = {k} items cannot be answered; ask for at least 1")
    drawn = None if sampled is None else sampled.begin()
    sets, which = distinct_rules(rules, len(scores))
    if not any(rule is not None and rule.shapes_lists for rule in sets):
        found = _best(scores, k, limits, rules, drawn)
        return padded_lists(found.items, found.scores, k)

    def search(rows: np.ndarray, limits: Limits, rules: Rules, count: int) -> Found:
        return _best(scores if len(rows) == len(scores) else scores[torch.from_numpy(rows)], count, limits, rules, drawn)

    def score(rows: np.ndarray, items: np.ndarray) -> np.ndarray:
        return scores[torch.from_numpy(rows)].gather(1, torch.from_numpy(items).to(scores.device)).float().cpu().numpy()

    return fill_lists(search, score, k, pool=2 * k, limits=limits, rules=[sets[number] for number in which])


def _best(scores: Tensor, k: int, limits: Limits, rules: Rules, drawn: Sampled | None) -> Found:
    values = keys = masked_scores(scores, limits, rules)
    if drawn is not None:
        keys, values = sampled_scores(values, drawn)
    index = select_top(keys, min(k, scores.shape[1]))
    chosen = keys.gather(1, index)
    require_numbers(chosen)
    ordered, order = chosen.sort(dim=1, descending=True, stable=True)
    index = index.gather(1, order)
    return Found(index, ordered, ordered if drawn is None else values.gather(1, index))


def require_numbers(chosen: Tensor) -> None:
    """Raise `UserError` when one of the chosen scores `[row, k]` is NaN."""
    if chosen.isnan().any():
        rows = int(chosen.isnan().any(dim=1).sum())
        raise UserError(f"the scores of {rows} of {len(chosen)} rows are NaN; the model diverged: lower its learning rate and fit again")


def masked_scores(scores: Tensor, limits: Limits, rules: Rules) -> Tensor:
    """A copy of the scores with bonuses added and -inf where an item must not be answered."""
    rows, items = scores.shape
    masked = scores.clone()
    sets, which = distinct_rules(rules, rows)
    for number, rule in enumerate(sets):
        if rule is None:
            continue
        check_size(rule, items)
        of_rule = slice(None) if len(sets) == 1 else torch.from_numpy(np.flatnonzero(which == number))[:, None]
        if rule.bonus is not None:
            masked[of_rule] += torch.from_numpy(rule.bonus).to(masked)
        if rule.allowed is not None:
            forbidden = torch.from_numpy(np.flatnonzero(~rule.allowed)).to(scores.device)
            masked[of_rule, forbidden] = -torch.inf
    if limits.allowed is not None:
        masked[:, ~allowed_items(limits, items, scores.device)] = -torch.inf
    if limits.exclude is not None:
        row, item = excluded_pairs(limits.exclude, rows, items, scores.device)
        masked[row, item] = -torch.inf
    return masked
