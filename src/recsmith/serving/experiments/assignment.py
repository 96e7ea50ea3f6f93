"""Who sees what: experiments with weighted arms, layers in which they exclude each other, and a holdout that no experiment touches."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from recsmith.config import Config
from recsmith.errors import UserError, suggestion

Reason = Literal["in", "outside", "holdout"]
"""Why a unit has an arm or none: in the experiment, outside its share of the layer, or held out of every experiment."""


class Arm(Config):
    """One thing that may be shown."""

    name: str = Field(min_length=1, max_length=100)
    """Name of the arm, once per experiment; the first arm of an experiment is its control."""
    weight: float = Field(1.0, gt=0, lt=math.inf)
    """Share of the experiment's units, relative to the other arms."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """What the arm changes, such as `{"model": "runs/tiger"}`; not looked at here."""


class Experiment(Config):
    """A question put to a share of a layer's units.

    A unit (usually a user) keeps its arm as long as name, salt and arms stay. When weights change or arms come and go, only units that
    must move do: an arm that grows keeps all it has (rendezvous hashing: Thaler and Ravishankar, 1998; with weights, as the
    smallest of exponential draws: Schindelhauer and Schomaker, 2005).
    """

    name: str = Field(min_length=1, max_length=100)
    """Name of the experiment, once per plan."""
    arms: tuple[Arm, ...] = Field(min_length=2)
    """At least two arms; the first is the control."""
    layer: str = "main"
    """Experiments of one layer never meet in a unit; those of different layers do, independently."""
    start: float = Field(0.0, ge=0, lt=1)
    """Where the experiment's part of the layer begins, as a share of its units."""
    share: float = Field(1.0, gt=0, le=1)
    """Share of the layer's units that take part."""
    salt: str = ""
    """Another salt deals the units anew."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        names = [arm.name for arm in self.arms]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"arm `{twice}` of experiment `{self.name}` is there twice; give each arm a name of its own")
        if self.end > 1 + 1e-12:
            raise ValueError(f"experiment `{self.name}` ends at {self.end:g} of its layer; start + share may be at most 1")
        return self

    @property
    def end(self) -> float:
        """Where the experiment's part of the layer ends."""
        return self.start + self.share

    @property
    def control(self) -> str:
        """Name of the first arm, with which the others are compared."""
        return self.arms[0].name

    def arm(self, name: str) -> Arm:
        """Raises `UserError` for a name that no arm has."""
        found = next((arm for arm in self.arms if arm.name == name), None)
        if found is None:
            hint = suggestion(name, (arm.name for arm in self.arms))
            raise UserError(f"experiment `{self.name}` has no arm `{name}`; {hint}")
        return found

    def shares(self) -> dict[str, float]:
        """Expected share of each arm among the experiment's units; they sum to 1."""
        total = sum(arm.weight for arm in self.arms)
        return {arm.name: arm.weight / total for arm in self.arms}


@dataclass(frozen=True)
class Assignment:
    """What one unit gets in one experiment."""

    experiment: str
    arm: str | None
    """None for units that do not take part: they get what is served without the experiment."""
    reason: Reason


class ExperimentPlan(Config):
    """All experiments that run at the same time."""

    experiments: tuple[Experiment, ...] = ()
    """In any order; those of one layer must not overlap."""
    holdout: float = Field(0.0, ge=0, lt=1)
    """Share of all units that take part in nothing, to measure what all experiments together brought."""
    salt: str = "recsmith"
    """Salt of the holdout and of the layers."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        names = [experiment.name for experiment in self.experiments]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"experiment `{twice}` is there twice; give each experiment a name of its own")
        ordered = sorted(self.experiments, key=lambda experiment: (experiment.layer, experiment.start))
        for first, second in pairwise(ordered):
            if first.layer == second.layer and first.end > second.start + 1e-12:
                raise ValueError(
                    f"experiments `{first.name}` and `{second.name}` overlap in layer `{first.layer}` from {second.start:g} to "
                    f"{min(first.end, second.end):g}; change `start` and `share`, or give one of them another layer"
                )
        return self

    def assign(self, unit: int | str) -> dict[str, Assignment]:
        """What a unit gets in each experiment: the same on every machine and in every process; `1` and `"1"` are the same unit."""
        held = self.held_out(unit)
        return {experiment.name: self._assign(experiment, unit, held=held) for experiment in self.experiments}

    def held_out(self, unit: int | str) -> bool:
        """Whether the unit takes part in nothing."""
        return point(self.salt, "holdout", unit) < self.holdout

    def experiment(self, name: str) -> Experiment:
        """Raises `UserError` for a name that no experiment has."""
        found = next((experiment for experiment in self.experiments if experiment.name == name), None)
        if found is None:
            hint = suggestion(name, (experiment.name for experiment in self.experiments)) if self.experiments else "none is running"
            raise UserError(f"there is no experiment `{name}`; {hint}")
        return found

    def _assign(self, experiment: Experiment, unit: int | str, *, held: bool) -> Assignment:
        if held:
            return Assignment(experiment.name, None, "holdout")
        place = point(self.salt, "layer", experiment.layer, unit)
        if not experiment.start <= place < experiment.end:
            return Assignment(experiment.name, None, "outside")
        return Assignment(experiment.name, choose_arm(experiment, unit), "in")


def choose_arm(experiment: Experiment, unit: int | str) -> str:
    """The arm of a unit that takes part: the smallest of one exponential draw per arm, whose rates are the weights."""

    def waiting(arm: Arm) -> float:
        return -math.log1p(-point(experiment.salt, "arm", experiment.name, arm.name, unit)) / arm.weight

    return min(experiment.arms, key=waiting).name


def point(*parts: int | str) -> float:
    """A number in [0, 1), uniform over different `parts` and always the same for the same ones (BLAKE2b, 53 bits of it)."""
    texts = [str(part) for part in parts]
    message = "".join(f"{len(text)}:{text}" for text in texts)  # lengths, so that ("a", "bc") and ("ab", "c") differ
    digest = hashlib.blake2b(message.encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53
