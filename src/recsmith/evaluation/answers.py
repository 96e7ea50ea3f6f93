"""`evaluate_answer`: ask any system for its lists, batch by batch, and measure them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from recsmith.data import Cases, Histories
from recsmith.errors import DataError
from recsmith.evaluation.leaks import LeakCheck
from recsmith.evaluation.metrics import DEFAULT_CUTOFFS, check_cutoffs, evaluate_lists
from recsmith.evaluation.protocol import identified
from recsmith.evaluation.relevance import members
from recsmith.evaluation.result import Evaluation
from recsmith.protocols import Answer, Progress, RankedLists


def evaluate_answer(
    answer: Answer,
    cases: Cases,
    *,
    item_count: int,
    split: Literal["validation", "test"],
    protocol: Mapping[str, Any],
    ks: Sequence[int] = DEFAULT_CUTOFFS,
    popularity: np.ndarray | None = None,
    categories: Histories | None = None,
    vectors: np.ndarray | None = None,
    checks: tuple[LeakCheck, ...] = (),
    batch_size: int = 512,
    progress: Progress | None = None,
) -> Evaluation:
    """Call `answer(batch of cases, max(ks))` for batches of `batch_size` cases and measure the lists as `evaluate_lists` does.

    The histories of the cases say what is unexpected and what a balanced list would be. `checks` (from `leak_checks`) are passed on.
    Only the lists are kept, so memory does not grow with the catalogue. `figures["already_seen"]` is the share of recommended items that
    stand in the history of their case (0 where seen items are masked). Raises `DataError` when there are no cases or when an
    answer has another shape than `[batch, max(ks)]`.
    """
    if len(cases) == 0:
        raise DataError(f"the {split} part has no cases, so nothing can be measured; give data with longer histories or another split")
    started = time.perf_counter()
    k = check_cutoffs(ks, length=item_count)[-1]
    lists = _ask(answer, cases, k, batch_size, progress)
    found = evaluate_lists(
        lists,
        cases.targets,
        item_count=item_count,
        ks=ks,
        popularity=popularity,
        categories=categories,
        vectors=vectors,
        histories=cases.histories,
    )
    figures = {**found.figures, "already_seen": seen_share(lists.items, cases.histories, item_count=item_count)}
    seconds = time.perf_counter() - started
    return replace(found, split=split, protocol=identified(protocol), seconds=seconds, figures=figures, checks=checks)


def seen_share(items: np.ndarray, histories: Histories, *, item_count: int) -> float:
    """Share of all listed items `[case, k]` that stand in the history of their case; nan when nothing is listed."""
    listed = np.count_nonzero(items >= 0)
    return float(members(items, histories, item_count=item_count).sum() / listed) if listed else float("nan")


def _ask(answer: Answer, cases: Cases, k: int, batch_size: int, progress: Progress | None) -> RankedLists:
    items = np.full((len(cases), k), -1, dtype=np.int64)
    scores = np.full((len(cases), k), -np.inf, dtype=np.float32)
    for start in range(0, len(cases), batch_size):
        stop = min(start + batch_size, len(cases))
        lists = answer(_part(cases, start, stop), k)
        if lists.items.shape != (stop - start, k):
            raise DataError(
                f"the answer to {stop - start} cases has shape {lists.items.shape}; allowed: [{stop - start}, {k}], padded with -1"
            )
        items[start:stop], scores[start:stop] = lists.items, lists.scores
        if progress is not None:
            progress("evaluating", stop, len(cases))
    return RankedLists(items, scores)


def _part(cases: Cases, start: int, stop: int) -> Cases:
    return Cases(cases.users[start:stop], cases.histories.slice(start, stop), cases.targets.slice(start, stop))
