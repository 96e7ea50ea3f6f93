"""`Definition`: an experiment as the server runs it: what its arms change, what counts as success, and how sure one wants to be."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from recsmith.config import Config
from recsmith.errors import UserError
from recsmith.serving.experiments.assignment import Arm, Experiment, ExperimentPlan
from recsmith.serving.experiments.exploration import Exploration

HOLDOUT = "holdout"
"""Name under which the server compares those who take part in nothing with everybody else."""
HELD_OUT, TREATED = "held out", "treated"
"""The two arms of that comparison."""

Kind = Literal["arms", "interleaving"]
Outcome = Literal["any", "count", "sum"]
Label = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\u0000-\u001f\u007f]{1,64}$")]


class ServedArm(Config):
    """What one arm shows. What it does not name is as without the experiment."""

    name: Label
    """Name of the arm, once per experiment; the first arm is the control."""
    weight: float = Field(1.0, ge=1e-6, le=1e6)
    """Share of the experiment's people, relative to the other arms."""
    model: Label | None = None
    """Run folder beside the one that is served; None: the model in service."""
    rules: dict[str, Any] | None = Field(None, max_length=20)
    """The business's rules for this arm, with sections as in the rules file; None: the rules in force."""
    exploration: Exploration | None = None
    """How this arm explores; None: as the server does."""

    def changed(self) -> set[str]:
        """What the arm sets."""
        list_changes = {"model or rules"} if self.model is not None or self.rules is not None else set()
        return list_changes | ({"exploration"} if self.exploration is not None else set())


class Definition(Config):
    """One experiment. It is never changed once it runs: another question is another experiment."""

    name: Label
    """Name of the experiment, which no other had before."""
    kind: Kind = "arms"
    """arms: every person has one arm; interleaving: two arms in one list, in which each person chooses between them."""
    arms: tuple[ServedArm, ...] = Field(min_length=2, max_length=20)
    """At least two arms; the first is the control."""
    layer: Label = "main"
    """Experiments of one layer never meet in a person; those of different layers do, and must not set the same things."""
    start: float = Field(0.0, ge=0, lt=1)
    """Where the experiment's part of the layer begins, as a share of its people."""
    share: float = Field(1.0, ge=1e-6, le=1)
    """Share of the layer's people who take part."""
    salt: Annotated[str, Field(max_length=64)] = ""
    """Another salt deals people anew."""
    metric: Label = "click"
    """Kind of event that counts as success."""
    outcome: Outcome = "any"
    """What is compared per person: whether there was such an event, how many there were, or the sum of their values."""
    within_hours: float = Field(24.0 * 7, gt=0, le=24 * 366)
    """Hours after a person's first list (interleaving: after each list) in which events count."""
    planned: int = Field(10_000, ge=2, le=10**9)
    """People over all arms at which the intervals that hold at every look are to be tightest."""
    least_units: int = Field(200, ge=2, le=10**6)
    """People per arm before the first verdict; raise it for events rarer than one in fifty people."""
    alpha: float = Field(0.05, ge=1e-6, le=0.5)
    """Chance, over all looks, of seeing a difference where there is none."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self.experiment()
        if self.name == HOLDOUT:
            raise ValueError(f"`{HOLDOUT}` is the name of the comparison with those who are held out; give another name")
        if self.kind == "interleaving":
            if len(self.arms) != 2:
                raise ValueError(f"interleaving compares two arms, `{self.name}` has {len(self.arms)}; leave some out, or use kind `arms`")
            if any(arm.exploration is not None for arm in self.arms):
                raise ValueError("interleaved lists do not explore; leave `exploration` out, or use kind `arms`")
        return self

    def experiment(self) -> Experiment:
        """As assignment and analysis take it."""
        arms = tuple(Arm(name=arm.name, weight=arm.weight) for arm in self.arms)
        return Experiment(name=self.name, arms=arms, layer=self.layer, start=self.start, share=self.share, salt=self.salt)

    def arm(self, name: str) -> ServedArm:
        """An arm by its name."""
        return next(arm for arm in self.arms if arm.name == name)

    def changed(self) -> set[str]:
        """What at least one arm sets; an interleaved list cannot be changed by anything else."""
        if self.kind == "interleaving":
            return {"model or rules", "exploration"}
        return set[str]().union(*(arm.changed() for arm in self.arms))


def plan_of(definitions: Sequence[Definition], *, holdout: float) -> ExperimentPlan:
    """All that run together. Raises `ConfigError` when two overlap in a layer, `UserError` when two of different layers set the same."""
    for first, second in combinations(definitions, 2):
        both = sorted(first.changed() & second.changed())
        if first.layer != second.layer and both:
            raise UserError(
                f"experiments `{first.name}` and `{second.name}` both set {' and '.join(both)}; put them into one layer, with `start` and "
                "`share` so that they do not overlap"
            )
    experiments = tuple(definition.experiment() for definition in definitions)
    return ExperimentPlan.parse({"experiments": experiments, "holdout": holdout}, where="experiments")


def holdout_experiment(share: float) -> Experiment:
    """The comparison of those held out, who are the control, with everybody else."""
    return Experiment(name=HOLDOUT, arms=(Arm(name=HELD_OUT, weight=share), Arm(name=TREATED, weight=1 - share)))
