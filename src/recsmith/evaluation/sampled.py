"""Sampled ranking: each target against a few drawn items. For comparison with papers that did so; labelled as such everywhere.

Sampled metrics rank systems in another order than full ranking does (Krichene and Rendle 2020; Cañamares and Castells 2020), so their
names start with `Sampled-`, the protocol says how many items were drawn and how, and its hash differs from that of full ranking.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any, Literal

import numpy as np

from recsmith.data import Cases, Histories, join_histories
from recsmith.errors import DataError, UserError
from recsmith.evaluation.metrics import DEFAULT_CUTOFFS
from recsmith.evaluation.protocol import identified
from recsmith.evaluation.relevance import members
from recsmith.evaluation.result import Evaluation
from recsmith.seeding import generator

ScoreCandidates = Callable[[Cases, np.ndarray], np.ndarray]
"""Cases and candidates, int64 `[case, candidate]` → their scores, float `[case, candidate]`."""

_ROUNDS = 200


def evaluate_sampled(
    score: ScoreCandidates,
    cases: Cases,
    *,
    item_count: int,
    split: Literal["validation", "test"],
    protocol: Mapping[str, Any],
    negatives: int = 100,
    popularity: np.ndarray | None = None,
    ks: Sequence[int] = DEFAULT_CUTOFFS,
    seed: int = 0,
    batch_size: int = 512,
) -> Evaluation:
    """`Sampled-Recall`, `Sampled-NDCG`, `Sampled-MRR` of every target against `negatives` drawn items.

    Items are drawn with replacement, uniformly or, with `popularity` `[item]`, in proportion to it, among those that are neither in the
    case's history nor its targets. Ties count against the target, so that a constant score is no success. A target gives one value;
    `per_case` holds one per target. `Estimated-Recall` and `-NDCG` put the target at 1 + (catalogue - 1) (rank - 1) / negatives, the
    rank estimate of Krichene and Rendle (2020), only for uniform draws; they are nearer to full ranking but no substitute for it.

    Raises `UserError` for no negatives, `DataError` for a case that has nearly everything or scores of another shape.
    """
    if negatives < 1:
        raise UserError(f"negatives = {negatives} does not work; give a number from 1, usually 100")
    started = perf_counter()
    one_each = _one_target_each(cases)
    ranks = np.empty(len(one_each))
    random = generator(seed, "sampled ranking")
    for start in range(0, len(one_each), batch_size):
        part = slice(start, min(start + batch_size, len(one_each)))
        asked, forbidden = one_each.take(np.arange(part.start, part.stop)), _forbidden(cases, one_each, part)
        drawn = _draw(random, forbidden, negatives, item_count, popularity)
        candidates = np.concatenate([asked.targets.values[:, None], drawn], axis=1)
        scores = np.asarray(score(asked, candidates))
        if scores.shape != candidates.shape or np.isnan(scores).any():
            raise DataError(f"candidates of shape {candidates.shape} got scores of shape {scores.shape}; give one number for each, no nan")
        ranks[part] = 1 + (scores[:, 1:] >= scores[:, :1]).sum(axis=1)
    per_case = _metrics("Sampled", ranks, ks)
    if popularity is None:
        per_case |= _metrics("Estimated", 1 + (item_count - 1) * (ranks - 1) / negatives, ks)
    ranking = f"sampled: each target against {negatives} items drawn {'uniformly' if popularity is None else 'by popularity'}"
    described = identified({**protocol, "ranking": ranking, "sampling_seed": seed})
    metrics = {name: float(values.mean()) for name, values in per_case.items()}
    return Evaluation(metrics, per_case, split, described, perf_counter() - started, len(cases), {"targets": len(ranks)})


def _metrics(prefix: str, ranks: np.ndarray, ks: Sequence[int]) -> dict[str, np.ndarray]:
    result = {}
    for k in sorted(set(ks)):
        result[f"{prefix}-Recall@{k}"] = (ranks <= k).astype(np.float64)
        result[f"{prefix}-NDCG@{k}"] = np.where(ranks <= k, 1 / np.log2(ranks + 1), 0.0)
        if prefix == "Sampled":
            result[f"{prefix}-MRR@{k}"] = np.where(ranks <= k, 1 / ranks, 0.0)
    return result


def _one_target_each(cases: Cases) -> Cases:
    known = cases.targets.where(cases.targets.values >= 0)
    if not len(known.values):
        raise DataError("the cases have no target in the catalogue, so nothing can be ranked; give cases with targets")
    rows = known.rows
    targets = Histories(known.values, np.arange(len(rows) + 1))
    return Cases(cases.users[rows], cases.histories.take(rows), targets)


def _forbidden(cases: Cases, one_each: Cases, part: slice) -> Histories:
    """History and all targets of the case behind each row."""
    rows = cases.targets.where(cases.targets.values >= 0).rows[part]
    every = np.arange(len(rows))
    return join_histories(len(rows), (every, _bare(cases.histories.take(rows))), (every, _bare(cases.targets.take(rows))))


def _bare(rows: Histories) -> Histories:
    return Histories(rows.values, rows.offsets)


def _draw(random: np.random.Generator, forbidden: Histories, negatives: int, item_count: int, popularity: np.ndarray | None) -> np.ndarray:
    shares = None if popularity is None else popularity / popularity.sum()
    drawn = np.full((len(forbidden), negatives), -1, dtype=np.int64)
    for _ in range(_ROUNDS):
        rows, columns = np.nonzero(drawn < 0)
        if not len(rows):
            return drawn
        fresh = random.integers(0, item_count, len(rows)) if shares is None else random.choice(item_count, len(rows), p=shares)
        drawn[rows, columns] = fresh
        drawn[members(drawn, forbidden, item_count=item_count)] = -1
    row = int(np.flatnonzero((drawn < 0).any(axis=1))[0])
    had = forbidden.lengths[row]
    raise DataError(f"a case has had {had} of {item_count} items, so nothing is left to draw; rank the full catalogue instead")
