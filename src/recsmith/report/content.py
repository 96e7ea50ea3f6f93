"""What a report says, as plain values: measured systems, checks of the data, groups, curves, people and the harm sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from recsmith.background import Background
from recsmith.comparison import Comparison, compare_measured, marked, require_comparable
from recsmith.data import Dataset, SplitConfig
from recsmith.errors import UserError
from recsmith.evaluation.exposure import exposure
from recsmith.evaluation.leaks import LeakCheck
from recsmith.evaluation.significance import RESAMPLES
from recsmith.measurement import MeasuredRun, Question, measure_all
from recsmith.protocols import Progress
from recsmith.report.covers import Covers, covers
from recsmith.report.curves import HitCurve, PopularityCurve, hit_curve, popularity_curve
from recsmith.report.groups import Grouping, groupings
from recsmith.report.harm import HarmRow, harm_sheet
from recsmith.report.people import Example, by_lot, failed
from recsmith.report.strangers import measure_tables

DEFAULT_METRIC = "NDCG@10"
_GROUP_RESAMPLES = 1_000
"""Draws for the interval of one group: enough to see it, and there are many of them."""


@dataclass(frozen=True)
class ReportContent:
    """Everything that the page shows."""

    comparison: Comparison
    names: tuple[str, ...]
    """What each run is called on the page."""
    checks: tuple[LeakCheck, ...]
    shuffled: tuple[MeasuredRun, ...]
    """The runs with events of equal time in random order; empty where that was not asked for."""
    by_case: tuple[int, ...]
    """Places of the runs that have the first run's cases: those of which groups, curves and people speak."""
    groupings: tuple[Grouping, ...]
    trained_curve: PopularityCurve
    popularity_curves: tuple[PopularityCurve, ...]
    hit_curves: tuple[HitCurve, ...]
    examples: tuple[Example, ...]
    failures: tuple[Example, ...]
    covers: Covers
    harm: tuple[HarmRow, ...]
    command: str | None = None
    """What made the page."""

    @property
    def runs(self) -> list[MeasuredRun]:
        """The runs in the order given."""
        return [figure.run for figure in self.comparison.figures]

    @property
    def cutoff(self) -> int:
        """Length of list that the page's metric looks at."""
        return int(self.comparison.metric.partition("@")[2])


def gather(
    folders: Sequence[str | Path],
    *,
    metric: str | None = None,
    split: Literal["test", "validation"] = "test",
    force: bool = False,
    users: pl.DataFrame | None = None,
    tie_seed: int | None = None,
    jobs: int = 1,
    resamples: int = RESAMPLES,
    seed: int = 0,
    command: str | None = None,
    progress: Progress | None = None,
) -> ReportContent:
    """Measure the runs, or read what was measured before. `users` says what is known about people (`user_id` and attributes); with
    `tie_seed` the figures stand beside those with events of equal time in random order.

    Raises what `recsmith.comparison.compare_runs` raises; one run alone is allowed.
    """
    if not folders:
        raise UserError("a report needs a run or a table; give folders that `recsmith run` wrote, or --table FILE with --data PATH")
    if len(folders) > 1:
        require_comparable(folders, force=force)
    question = Question(split=split, force=force)
    measured = measure_all(folders, question, jobs=jobs, progress=progress)
    shuffled = [] if tie_seed is None else measure_all(folders, question.shuffled(tie_seed), jobs=jobs, progress=progress)
    background = Background.of_run(folders[0], part=split, users=users)
    content = _content(marked(measured, force=force), background, metric, resamples, seed, command)
    return replace(content, shuffled=tuple(shuffled))


def gather_tables(
    tables: Sequence[str | Path],
    data: Dataset,
    *,
    metric: str | None = None,
    split: Literal["test", "validation"] = "test",
    protocol: SplitConfig | None = None,
    columns: Mapping[str, str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    command: str | None = None,
) -> ReportContent:
    """The same for strangers' tables of recommendations (as `recsmith.evaluate` reads them), beside a popularity ranking made here."""
    background = Background.of_data(data, part=split, protocol=protocol)
    runs = measure_tables(tables, data, background, columns=columns)
    return _content(runs, background, metric, resamples, seed, command)


def _content(
    runs: Sequence[MeasuredRun], background: Background, metric: str | None, resamples: int, seed: int, command: str | None
) -> ReportContent:
    chosen = metric or _default_metric(runs[0])
    comparison = compare_measured(runs, metric=chosen, resamples=resamples, seed=seed)
    names = run_names(runs)
    by_case = tuple(place for place, run in enumerate(runs) if not run.marks and run.lists is not None)
    same = [runs[place] for place in by_case]
    values = [run.evaluation.per_case[chosen] for run in same]
    k = int(chosen.partition("@")[2])
    shown = [exposure(run.lists.items, k, item_count=background.items) for run in same if run.lists is not None]
    drawn, worst = by_lot(background, same, seed=seed), failed(background, same, values)
    grouped = tuple(groupings(background, values, resamples=min(resamples, _GROUP_RESAMPLES), seed=seed))
    curves = tuple(popularity_curve(background, counts, names[place]) for place, counts in zip(by_case, shown, strict=True))
    hits = [hit_curve(background, runs[place], names[place], k=k) for place in by_case]
    trained = popularity_curve(background, background.trained, "training events")
    return ReportContent(
        comparison=comparison,
        names=tuple(names),
        checks=runs[0].evaluation.checks,
        shuffled=(),
        by_case=by_case,
        groupings=grouped,
        trained_curve=trained,
        popularity_curves=curves,
        hit_curves=tuple(curve for curve in hits if curve is not None),
        examples=tuple(drawn),
        failures=tuple(worst),
        covers=covers(background, [item for example in (*drawn, *worst) for item in example.items()]),
        harm=tuple(harm_sheet(background, same, [names[place] for place in by_case], grouped, curves, trained, metric=chosen)),
        command=command,
    )


def run_names(runs: Sequence[MeasuredRun]) -> list[str]:
    """The systems' names; with the folder where two runs are of one system."""
    titles = [str(run.card.get("title") or run.name) for run in runs]
    return [title if titles.count(title) == 1 else f"{title} ({run.name})" for title, run in zip(titles, runs, strict=True)]


def _default_metric(run: MeasuredRun) -> str:
    """NDCG at 10, or at the longest list that there is."""
    known = run.evaluation.per_case
    if DEFAULT_METRIC in known:
        return DEFAULT_METRIC
    cutoffs = [int(name.partition("@")[2]) for name in known if name.startswith("NDCG@")]
    return f"NDCG@{max(cutoffs)}"


def nothing(values: np.ndarray) -> float:
    """Share of the cases where the metric is 0."""
    defined = values[~np.isnan(values)]
    return float((defined == 0).mean()) if len(defined) else float("nan")
