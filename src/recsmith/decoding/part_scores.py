"""Lists of models that score, also of those that look at a part of the catalogue: none is short because of what was not looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recsmith.decoding.beam import take_rows
from recsmith.decoding.limits import NO_LIMITS
from recsmith.decoding.masks import Rules, distinct_rules
from recsmith.decoding.ranking import top_k
from recsmith.decoding.rules import BoundRules
from recsmith.decoding.sampling import Sampled
from recsmith.protocols import HistoryBatch, Limits, PartScorer, RankedLists


@torch.no_grad()
def best_items(
    model: Any, batch: HistoryBatch, k: int, *, limits: Limits = NO_LIMITS, rules: Rules = None, sampled: Sampled | None = None
) -> RankedLists:
    """`top_k` of the scores of a `ScoreModel`; of a `PartScorer` too, as long and under the same rules as if it had scored all items.

    Rows that such a model has scored in part are scored in full where their list came out short, and where their rules name items that it
    may have missed (boosts, quotas, pins).
    """
    scores = model.score(batch)
    lists = top_k(scores, k, limits=limits, rules=rules, sampled=sampled)
    if not isinstance(model, PartScorer):
        return lists
    wanting = (lists.items < 0).any(axis=1) | _name_items(rules, len(batch))
    rows = np.flatnonzero(wanting & (scores == -torch.inf).any(dim=1).cpu().numpy())
    if not len(rows):
        return lists
    fewer = replace(limits, exclude=None if limits.exclude is None else limits.exclude.take(rows))
    own = [rules[int(row)] for row in rows] if isinstance(rules, Sequence) else rules
    full = top_k(model.score_all(take_rows(batch, rows)), k, limits=fewer, rules=own, sampled=sampled)
    lists.items[rows], lists.scores[rows] = full.items, full.scores
    return lists


def all_scores(model: Any, batch: HistoryBatch) -> Tensor:
    """What a `ScoreModel` says of the whole catalogue, `[batch, item]`, also where it would look at a part of it only."""
    scores: Tensor = model.score_all(batch) if isinstance(model, PartScorer) else model.score(batch)
    return scores


def _name_items(rules: Rules, rows: int) -> np.ndarray:
    """Whether the rules of a row want items to be there, or further up, bool `[row]`."""
    sets, which = distinct_rules(rules, rows)
    return np.array([rule is not None and _wants_items(rule) for rule in sets], dtype=bool)[which]


def _wants_items(rules: BoundRules) -> bool:
    return rules.bonus is not None or bool(rules.quotas or rules.pins)
