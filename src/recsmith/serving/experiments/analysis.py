"""The result of an experiment: every arm against the control, at a fixed end and at any time, after a look at what may be broken."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from recsmith.errors import UserError
from recsmith.serving.experiments.assignment import Experiment
from recsmith.serving.experiments.fixed_horizon import Difference, fixed_horizon_test
from recsmith.serving.experiments.sample_ratio import SampleRatio, sample_ratio_test
from recsmith.serving.experiments.sequential import LEAST_UNITS, carried, sequential_test
from recsmith.serving.experiments.summaries import Moments, moments
from recsmith.serving.experiments.tables import UnitTable

Verdict = Literal["higher", "lower", "not yet", "not to be trusted"]


@dataclass(frozen=True)
class ArmResult:
    """One arm against the control."""

    arm: str
    units: int
    mean: float
    lift: float | None
    """Difference as a share of the control's mean; None where that is 0."""
    sequential: Difference
    """Holds at every look; p and level of the interval corrected for the number of arms (Bonferroni)."""
    fixed: Difference | None
    """Holds for one look at the planned end only, corrected likewise; None before two units per arm."""
    verdict: Verdict
    """By the sequential test; `higher` or `lower` is good or bad depending on the metric."""


@dataclass(frozen=True)
class Result:
    """What can be said about one metric of one experiment."""

    experiment: str
    metric: str
    control: str
    control_units: int
    control_mean: float
    arms: tuple[ArmResult, ...]
    sample_ratio: SampleRatio
    crossed: int
    """Units left out because they were shown two arms."""
    alpha: float
    planned: int
    """Units over all arms at which the sequential intervals are tightest."""

    def document(self) -> dict[str, Any]:
        """As JSON has it; an interval without ends has None there."""
        ratio = self.sample_ratio
        return {
            "experiment": self.experiment,
            "metric": self.metric,
            "control": {"arm": self.control, "units": self.control_units, "mean": self.control_mean},
            "arms": [_arm_document(arm) for arm in self.arms],
            "sample_ratio": {
                "units": ratio.counts,
                "expected": ratio.expected,
                "p_value": ratio.p_value,
                "sequential_p": ratio.sequential_p,
                "alarm": ratio.alarm,
            },
            "crossed": self.crossed,
            "alpha": self.alpha,
            "planned": self.planned,
            "sentences": [self.sentence(arm) for arm in self.arms],
        }

    def sentence(self, arm: ArmResult) -> str:
        """The verdict in words."""
        if arm.verdict == "not to be trusted":
            return (
                f"`{arm.arm}`: the arms' sizes are not as planned (p = {self.sample_ratio.sequential_p:.2g}), so units go missing "
                "somewhere; find out where before reading any figure"
            )
        if arm.verdict == "not yet":
            return f"`{arm.arm}`: no difference of {self.metric} shown yet; going on, and looking again, is safe"
        test = arm.sequential
        return (
            f"`{arm.arm}`: {self.metric} is {arm.verdict} than with `{self.control}` by {abs(test.difference):.4g} "
            f"(at any time {test.low:.4g} … {test.high:.4g}, p = {test.p_value:.2g})"
        )


def analyse(
    experiment: Experiment,
    table: UnitTable,
    metric: str,
    *,
    planned: int,
    alpha: float = 0.05,
    least_units: int = LEAST_UNITS,
    before: Result | None = None,
) -> Result:
    """Compare every arm with the control on one metric of `table`.

    `planned` (units over all arms) belongs to the experiment's design: it must not change while it runs. `before` is the result of an
    earlier look at the same experiment; its p and intervals are carried on, which only sharpens what is said.
    """
    if before is not None and (before.experiment, before.metric, before.planned, before.alpha) != (experiment.name, metric, planned, alpha):
        raise UserError(
            f"the earlier result is about `{before.metric}` of `{before.experiment}` with planned = {before.planned}, "
            f"alpha = {before.alpha:g}; give one of the same experiment, metric, planned and alpha"
        )
    summaries = {arm.name: moments(table.values(metric, arm.name)) for arm in experiment.arms}
    ratio = _ratio(experiment, table, before)
    shares = experiment.shares()
    others = [arm.name for arm in experiment.arms[1:]]
    results = tuple(
        _compared(
            name,
            summaries[experiment.control],
            summaries[name],
            planned=max(1, round(planned * (shares[name] + shares[experiment.control]))),
            alpha=alpha,
            comparisons=len(others),
            least_units=least_units,
            before=None if before is None else next(arm.sequential for arm in before.arms if arm.arm == name),
            broken=ratio.alarm,
        )
        for name in others
    )
    control = summaries[experiment.control]
    return Result(experiment.name, metric, experiment.control, control.count, control.mean, results, ratio, table.crossed, alpha, planned)


def _ratio(experiment: Experiment, table: UnitTable, before: Result | None) -> SampleRatio:
    now = sample_ratio_test(table.counts(experiment), experiment.shares())
    return now if before is None else replace(now, sequential_p=min(now.sequential_p, before.sample_ratio.sequential_p))


def _compared(
    name: str,
    control: Moments,
    arm: Moments,
    *,
    planned: int,
    alpha: float,
    comparisons: int,
    least_units: int,
    before: Difference | None,
    broken: bool,
) -> ArmResult:
    now = sequential_test(control, arm, planned=planned, alpha=alpha / comparisons, least_units=least_units)
    sequential = carried(before, _corrected(now, comparisons))
    fixed = fixed_horizon_test(control, arm, alpha=alpha / comparisons) if min(control.count, arm.count) >= 2 else None
    return ArmResult(
        arm=name,
        units=arm.count,
        mean=arm.mean,
        lift=(arm.mean - control.mean) / control.mean if control.mean else None,
        sequential=sequential,
        fixed=None if fixed is None else _corrected(fixed, comparisons),
        verdict=_verdict(sequential, broken),
    )


def _corrected(test: Difference, comparisons: int) -> Difference:
    return replace(test, p_value=min(1.0, comparisons * test.p_value))


def _verdict(test: Difference, broken: bool) -> Verdict:
    if broken:
        return "not to be trusted"
    if test.low > 0:
        return "higher"
    return "lower" if test.high < 0 else "not yet"


def _arm_document(arm: ArmResult) -> dict[str, Any]:
    return {
        "arm": arm.arm,
        "units": arm.units,
        "mean": arm.mean,
        "lift": arm.lift,
        "sequential": _difference_document(arm.sequential),
        "fixed": None if arm.fixed is None else _difference_document(arm.fixed),
        "verdict": arm.verdict,
    }


def _difference_document(test: Difference) -> Mapping[str, float | None]:
    return {
        "difference": test.difference,
        "low": test.low if math.isfinite(test.low) else None,
        "high": test.high if math.isfinite(test.high) else None,
        "p_value": test.p_value,
        "level": test.level,
    }
