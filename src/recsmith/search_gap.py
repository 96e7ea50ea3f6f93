"""What a run's beam search misses: its lists against those of scoring its whole catalogue, for people whose held-out events are known."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from recsmith.data import Cases
from recsmith.decoding import beam_gap
from recsmith.errors import DataError, UserError
from recsmith.protocols import Limits
from recsmith.recommender import Recommender
from recsmith.training import to_batch


def measure_search_gap(recommender: Recommender, people: int = 200, *, split: Literal["test", "validation"] = "test") -> dict[str, Any]:
    """`beam_gap` at 10 (or the catalogue's size), at the recipe's beams, over up to `people` cases spread evenly over those of the run.

    Returns `cases`, `k`, `beams` and `metrics`. Takes time for every prefix of the catalogue and every case. Raises `UserError` for a
    run that is not searched with beams and for fewer than one of the people, `DataError` when no case has a history.
    """
    model: Any = recommender.model
    title = recommender.recipe.title
    if model.answers != "codes":
        raise UserError(f"{title} scores every item and has no beams that could miss one; give runs that generate item codes")
    if people < 1:
        raise UserError(f"the beam gap of {people} people says nothing; give 1 or more, such as 200")
    cases = _some(getattr(recommender.split(), split), people)
    k = min(10, recommender.items)
    beams = max(k, recommender.recipe.decoding.beams)
    users = np.where(cases.users < recommender.trained_users, cases.users, -1)
    figures = beam_gap(
        model,
        to_batch(cases.histories, users=users, device=recommender.device),
        recommender.trie,
        k,
        beams=beams,
        limits=Limits(exclude=None if recommender.recipe.split.repeats_items else cases.histories),
        targets=cases.targets,
    )
    return {"cases": len(cases), "k": k, "beams": beams, "metrics": figures}


def _some(cases: Cases, people: int) -> Cases:
    """Up to so many of the cases with a history."""
    known = np.flatnonzero(cases.histories.lengths > 0)
    if not len(known):
        raise DataError("nobody in this part of the data has a history; give another --split, or data with longer histories")
    return cases.take(known[np.unique(np.linspace(0, len(known) - 1, people).round().astype(np.int64))])
