"""What goes over the wire about experiments; like `bodies`, which has the rest."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from recsmith.serving.bodies import Name, Plain, Strict
from recsmith.serving.experiments.exploration import Exploration

MOST_LISTS = 20_000
"""Most lists that one estimate looks at."""


class ResultsQuery(Strict):
    """What to compare by."""

    metric: Name | None = None
    """Kind of event; the experiment's own without it."""


class EstimateBody(Strict):
    """A policy that did not run, and the part of the log to judge it by."""

    model: Name | None = None
    """Run folder; the model in service without it."""
    exploration: Exploration = Exploration()
    """How the policy explores; not at all without it."""
    scope: Literal["first", "list"] = "first"
    """first: the item in the first place and its reward; list: the whole list in its order, which needs much more of the log."""
    kinds: list[Name] = Field(default_factory=lambda: ["click"], min_length=1, max_length=20)
    """Kinds of events that count as reward, when they name the list."""
    within_hours: float = Field(24.0, gt=0, le=24 * 366)
    """Hours after a list in which they count."""
    hours: float = Field(24.0 * 7, gt=0, le=24 * 366)
    """How far to look back."""
    lists: int = Field(5000, ge=2, le=MOST_LISTS)
    """Lists at most, the latest ones."""
    clip: float | None = Field(None, ge=1, le=1e9)
    """Largest weight of a list; smaller variance for some bias."""
    alpha: float = Field(0.05, ge=1e-6, le=0.5)
    """1 − level of the intervals."""


class ArmAnswer(Plain):
    """What an arm shows."""

    name: str
    weight: float
    model: str | None
    rules: dict[str, Any] | None
    exploration: dict[str, Any] | None


class ExperimentAnswer(Plain):
    """An experiment."""

    name: str
    kind: Literal["arms", "interleaving"]
    arms: list[ArmAnswer]
    layer: str
    start: float
    share: float
    salt: str
    metric: str
    outcome: Literal["any", "count", "sum"]
    within_hours: float
    planned: int
    least_units: int
    alpha: float
    created: float
    stopped: float | None
    problem: str | None
    """Why it is not running though nobody has stopped it."""


class ExperimentsAnswer(Plain):
    """All of them."""

    experiments: list[ExperimentAnswer]
    holdout: float
    """Share of people who take part in nothing."""


class ControlAnswer(Plain):
    """The first arm."""

    arm: str
    units: int
    mean: float


class DifferenceAnswer(Plain):
    """An arm's mean minus the control's."""

    difference: float
    low: float | None
    """Null: nothing can be said yet."""
    high: float | None
    p_value: float
    level: float


class ArmResultAnswer(Plain):
    """An arm against the control."""

    arm: str
    units: int
    mean: float
    lift: float | None
    """The difference as a share of the control's mean."""
    sequential: DifferenceAnswer
    """Holds at every look."""
    fixed: DifferenceAnswer | None
    """Holds once, at the planned end."""
    verdict: Literal["higher", "lower", "not yet", "not to be trusted"]


class SampleRatioAnswer(Plain):
    """People per arm against the planned shares."""

    units: dict[str, int]
    expected: dict[str, float]
    p_value: float
    sequential_p: float
    alarm: bool
    """People go missing somewhere; no other figure can be trusted."""


class PreferenceAnswer(Plain):
    """Whom people prefer, of two interleaved arms."""

    units: int
    wins: dict[str, int]
    """People who preferred each arm."""
    share: float
    """Share of the second arm among those with a preference."""
    low: float
    high: float
    p_value: float
    sequential_p: float
    winner: str | None


class ResultsAnswer(Plain):
    """What can be said about an experiment by now."""

    experiment: str
    kind: Literal["arms", "interleaving"]
    metric: str
    outcome: Literal["any", "count", "sum"]
    lists: int
    """Lists that were shown."""
    control: ControlAnswer | None
    arms: list[ArmResultAnswer]
    sample_ratio: SampleRatioAnswer | None
    crossed: int
    """People left out because they were shown two arms."""
    alpha: float
    planned: int
    preference: PreferenceAnswer | None
    """Of an interleaving experiment."""
    sentences: list[str]
    """The same in words."""


class PolicyEstimate(Plain):
    """One estimate of the reward per list."""

    method: Literal["IPS", "SNIPS", "DR"]
    value: float
    low: float
    high: float
    standard_error: float
    level: float
    rows: int
    effective_rows: float
    mean_weight: float
    """1 in expectation when the propensities are right and cover the policy."""
    largest_weight: float
    clipped_share: float
    warnings: list[str]
    """What speaks against trusting it."""


class EstimateAnswer(Plain):
    """What a policy would have brought."""

    model: str
    scope: Literal["first", "list"]
    lists: int
    people: int
    served: float
    """Reward per list of what was really shown."""
    estimates: list[PolicyEstimate]


class GuardFigures(Plain):
    """How one model does."""

    answers: int
    """Answers that the next three figures are of."""
    failures: int
    fallbacks: int
    slow_ms: float | None
    """95th percentile of the model's own answers, milliseconds."""
    people: int
    click_rate: float | None
    """Share of lists that led to an event of `guard_kinds`."""


class BothFigures(Plain):
    """Of two models."""

    now: GuardFigures
    before: GuardFigures


class GuardAnswer(Plain):
    """The model in service against the one before."""

    watching: bool
    model: str
    before: str | None
    since: float | None
    verdict: str | None
    """Why a model was taken back last."""
    figures: BothFigures
