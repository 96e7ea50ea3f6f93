"""Runs side by side on the same cases: what makes them comparable, one metric each with its interval, and the differences to the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from recsmith.artifacts import open_folder, read_json
from recsmith.errors import DataError, UserError, suggestion
from recsmith.evaluation.accuracy import ACCURACY
from recsmith.evaluation.significance import RESAMPLES, Interval, PairedComparison, bootstrap_interval, compare_with_baseline
from recsmith.measurement import MeasuredRun, Question, measure_all
from recsmith.protocols import Progress
from recsmith.run_folder import RUN


@dataclass(frozen=True)
class RunFigure:
    """One metric of one run."""

    run: MeasuredRun
    mean: float
    """Mean over the cases where the metric is defined."""
    interval: Interval
    against_first: PairedComparison | None
    """None for the first run, and for a run that shares no case with it."""


@dataclass(frozen=True)
class Comparison:
    """Runs against the first of them, by one metric."""

    metric: str
    split: str
    figures: tuple[RunFigure, ...]
    alpha: float
    resamples: int
    seed: int

    @property
    def comparable(self) -> bool:
        """Whether all runs have the same data, protocol and cases."""
        return not any(figure.run.marks for figure in self.figures)

    def verdict(self, figure: RunFigure) -> str:
        """`better` or `worse` for accuracy, `higher` or `lower` for what is neither good nor bad in itself; or why there is neither."""
        if figure is self.figures[0]:
            return "baseline"
        if figure.against_first is None:
            return "not tested: no user in common"
        return self._word(figure.against_first.verdict)

    def sentence(self, figure: RunFigure) -> str:
        """The verdict with its p, or with the difference that could have been seen."""
        if figure.against_first is None:
            return self.verdict(figure)
        return figure.against_first.sentence().replace(figure.against_first.verdict, self.verdict(figure), 1)

    def _word(self, verdict: str) -> str:
        accuracy = self.metric.partition("@")[0] in ACCURACY
        return {"higher": "better", "lower": "worse"}.get(verdict, verdict) if accuracy else verdict


def compare_runs(
    folders: Sequence[str | Path],
    *,
    metric: str = "NDCG@10",
    split: Literal["test", "validation"] = "test",
    force: bool = False,
    seed: int = 0,
    resamples: int = RESAMPLES,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Comparison:
    """Evaluate runs on their own held-out cases and compare each with the first, paired case by case.

    Raises `UserError` for fewer than two runs, for runs of different data, protocol or cases (unless `force`: then they are marked, and
    paired over the users that they share), and for a metric that has no value per case.
    """
    require_comparable(folders, force=force)
    measured = measure_all(folders, Question(split=split, force=force), jobs=jobs, progress=progress)
    return compare_measured(marked(measured, force=force), metric=metric, seed=seed, resamples=resamples)


def require_comparable(folders: Sequence[str | Path], *, force: bool = False) -> None:
    """Refuse, before anything is computed, what cannot be put side by side."""
    if len(folders) < 2:
        raise UserError("a comparison needs two runs or more; give the folders of at least two, the baseline first")
    facts = [_facts(Path(folder)) for folder in folders]
    for folder, found in zip(folders[1:], facts[1:], strict=True):
        if not force and (marks := _differences(facts[0], found)):
            raise _not_comparable(folders[0], folder, marks)


def marked(runs: Sequence[MeasuredRun], *, force: bool = False) -> list[MeasuredRun]:
    """The runs with what makes each differ from the first; raises `UserError` for any such difference unless `force`."""
    first = runs[0]
    facts = _facts(Path(first.name))
    result = [first]
    for run in runs[1:]:
        marks = _differences(facts, _facts(Path(run.name)))
        if not marks and not run.cases.equals(first.cases):
            marks = ("other held-out cases (one of the runs was updated?)",)
        if marks and not force:
            raise _not_comparable(first.name, run.name, marks)
        result.append(replace(run, marks=(*run.marks, *marks)))
    return result


def compare_measured(
    runs: Sequence[MeasuredRun], *, metric: str, alpha: float = 0.05, resamples: int = RESAMPLES, seed: int = 0
) -> Comparison:
    """Intervals and paired tests of runs that are already measured; the first is the baseline, the others are one family of tests."""
    values = [_per_case(run, metric) for run in runs]
    aligned = {place: _aligned(runs[0], run, own) for place, (run, own) in enumerate(zip(runs, values, strict=True)) if place > 0}
    paired = {str(place): own for place, own in aligned.items() if own is not None and (~np.isnan(own + values[0])).any()}
    tests = compare_with_baseline(values[0], paired, alpha=alpha, resamples=resamples, seed=seed)
    figures = []
    for place, (run, own) in enumerate(zip(runs, values, strict=True)):
        interval = bootstrap_interval(own, level=1 - alpha, resamples=resamples, seed=seed)
        figures.append(RunFigure(run, float(np.nanmean(own)), interval, tests.get(str(place))))
    return Comparison(metric, runs[0].evaluation.split, tuple(figures), alpha, resamples, seed)


def _facts(folder: Path) -> dict[str, Any]:
    """What must be equal, by the words that name it."""
    opened = open_folder(folder, RUN)
    config, data = read_json(opened / "config.json"), read_json(opened / "card.json").get("data", {})
    facts = {"data": f"{data.get('name')} {str(data.get('hash'))[:8]}"} if data.get("hash") else {}
    return facts | {f"{part}.{key}": value for part in ("split", "view") for key, value in config[part].items()}


def _differences(first: dict[str, Any], other: dict[str, Any]) -> tuple[str, ...]:
    both = [key for key in first if key in other]
    return tuple(f"{key}: {first[key]} / {other[key]}" for key in both if _identity(key, first[key]) != _identity(key, other[key]))


def _identity(key: str, value: Any) -> Any:
    """Data are known by their hash; what they are called does not matter."""
    return value.rpartition(" ")[2] if key == "data" else value


def _not_comparable(first: str | Path, other: str | Path, marks: Sequence[str]) -> UserError:
    return UserError(
        f"`{first}` and `{other}` cannot be compared ({'; '.join(marks)}); give runs of the same data and protocol, "
        "or --force to see them side by side all the same"
    )


def _per_case(run: MeasuredRun, metric: str) -> np.ndarray:
    known = run.evaluation.per_case
    if metric not in known:
        raise UserError(f"`{metric}` has no value per case that could be compared; {suggestion(metric, known)}")
    if np.isnan(known[metric]).all():
        raise DataError(f"`{metric}` is undefined in every case of `{run.name}`; choose another metric")
    return known[metric]


def _aligned(first: MeasuredRun, other: MeasuredRun, values: np.ndarray) -> np.ndarray | None:
    """The other run's values in the first run's cases, nan where it has none: by place where the cases are the same, else by user."""
    if not other.marks:
        return values
    if any(run.cases["user_id"].is_duplicated().any() for run in (first, other)):
        return None
    found = first.cases.join(other.cases.with_columns(value=values), on="user_id", how="left", maintain_order="left")
    return found["value"].fill_null(float("nan")).to_numpy()
