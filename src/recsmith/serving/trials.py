"""`Trials`: the experiments that one server runs: who gets what, and the generations that arms need beside the one in service."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recsmith.errors import RecsmithError, UserError
from recsmith.recommender import load
from recsmith.serving.answers import Served, Shown
from recsmith.serving.experiments.assignment import ExperimentPlan
from recsmith.serving.experiments.definition import HELD_OUT, HOLDOUT, TREATED, Definition, ServedArm, plan_of
from recsmith.serving.experiments.exploration import Exploration, explore
from recsmith.serving.generation import Generation
from recsmith.serving.growth import Growth
from recsmith.serving.making import Ingredients, make_generation
from recsmith.serving.rules_file import RulesFile
from recsmith.serving.store import Store

LOG = logging.getLogger("recsmith.serving")


class Variant(NamedTuple):
    """Which model answers under which rules."""

    model: str | None = None
    """Run folder; None: the model in service."""
    rules: str | None = None
    """Rules as JSON; None: the rules in force."""


_MOST_KNOWN = 20_000
"""People whose treatment is remembered."""

SERVICE = Variant()
"""What everybody gets who takes part in nothing."""


@dataclass(frozen=True)
class Treatment:
    """What one person gets."""

    arms: dict[str, str] = field(default_factory=dict)
    """Experiment → arm."""
    variant: Variant = SERVICE
    rival: Variant | None = None
    """The second list of an interleaving experiment, of which `variant` is the first."""
    teams: tuple[str, str] = ("", "")
    """Names of the arms that own the two lists."""
    exploration: Exploration | None = None


class BoundTreatment(NamedTuple):
    """A treatment and who answers."""

    treatment: Treatment
    generation: Generation
    rival: Generation | None


class Trials:
    """Belongs to the event loop; generations are made in threads."""

    def __init__(
        self,
        folder: Path,
        store: Store,
        ingredients: Ingredients,
        *,
        holdout: float,
        exploration: Exploration,
        standing: Sequence[Variant] = (),
    ) -> None:
        """`folder` has the run folders that arms may name; `exploration` is for those whom no arm tells otherwise; generations of the
        `standing` variants are there whatever runs."""
        self._folder, self._store, self._ingredients = folder, store, ingredients
        self._standing = set(standing) - {SERVICE}
        self.holdout = holdout
        self.exploration = None if exploration.kind == "none" else exploration
        self.problems: dict[str, str] = {}
        """Experiment → why it is not running though it should."""
        self.random = np.random.default_rng()
        self._definitions: dict[str, Definition] = {}
        self._plan = ExperimentPlan(holdout=holdout)
        self._known: dict[str, Treatment] = {}
        self._growths: dict[str, Growth] = {}
        self._made: dict[Variant, Generation] = {}

    @property
    def idle(self) -> bool:
        """Whether everybody gets the same."""
        return not self._definitions and not self.holdout and self.exploration is None

    @property
    def generations(self) -> list[Generation]:
        """Those beside the one in service."""
        return list(self._made.values())

    def generation(self, variant: Variant, service: Generation) -> Generation:
        """Who answers for a variant."""
        return service if variant == SERVICE else self._made[variant]

    def bound(self, treatment: Treatment, service: Generation) -> BoundTreatment:
        """A treatment with those who answer, which stay the same until it has been served."""
        rival = None if treatment.rival is None else self.generation(treatment.rival, service)
        return BoundTreatment(treatment, self.generation(treatment.variant, service), rival)

    def treatment(self, unit: str) -> Treatment:
        """What a person gets: the same as long as the same experiments run."""
        known = self._known.get(unit)
        if known is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            known = self._known[unit] = self._treatment(unit)
        return known

    def _treatment(self, unit: str) -> Treatment:
        if self.holdout and self._plan.held_out(unit):
            return Treatment({HOLDOUT: HELD_OUT})
        found = Treatment({HOLDOUT: TREATED} if self.holdout else {}, exploration=self.exploration)
        for name, assignment in self._plan.assign(unit).items():
            if assignment.arm is not None:
                found = _with_arm(found, self._definitions[name], assignment.arm)
        return found

    # ---- what runs ----

    @property
    def definitions(self) -> list[Definition]:
        """Those that run."""
        return list(self._definitions.values())

    def check(self, definitions: Sequence[Definition]) -> None:
        """Raises `UserError` when they cannot run together."""
        plan_of(definitions, holdout=self.holdout)

    def make(self, definitions: Sequence[Definition], service: Generation) -> dict[Variant, Generation]:
        """The generations of all arms; those that are there already as they are. Runs in a thread. Raises `RecsmithError`."""
        wanted = {variant_of(arm) for definition in definitions for arm in definition.arms} - {SERVICE} | self._standing
        return {variant: self._made.get(variant) or self._generation(variant, service) for variant in wanted}

    def take(self, definitions: Sequence[Definition], made: dict[Variant, Generation]) -> None:
        """Run these experiments, and no others, from now on."""
        self._definitions = {definition.name: definition for definition in definitions}
        self._plan = plan_of(definitions, holdout=self.holdout)
        self._known.clear()
        self._made = made
        self._growths = {name: growth for name, growth in self._growths.items() if any(variant.model == name for variant in made)}

    def look_at(self, model: str | None, service: Generation) -> Generation:
        """A generation of its own, that nobody is answered by and that is not kept. Runs in a thread. Raises `RecsmithError`."""
        name = model or service.name
        there = {service.name: service.growth, **self._growths}
        return make_generation(name, there.get(name) or self._loaded(name), self._store, self._ingredients)

    def open(self, definitions: Sequence[Definition], service: Generation) -> tuple[list[Definition], dict[Variant, Generation]]:
        """Those of `definitions` that can run, with their generations; why others cannot is kept in `problems`. Runs in a thread.

        Raises `RecsmithError` when a standing variant cannot be made.
        """
        running: list[Definition] = []
        made = self.make([], service)
        self.problems = {}
        for definition in definitions:
            try:
                plan_of([*running, definition], holdout=self.holdout)
                made.update(self.make([definition], service))
                running.append(definition)
            except RecsmithError as error:
                LOG.error("experiment %s does not run: %s", definition.name, error)
                self.problems[definition.name] = " ".join(str(error).split())
        return running, made

    def remade(self, service: Generation) -> dict[Variant, Generation]:
        """All generations again, after a change of items, rules or the model in service; who cannot be made again stays as it was."""
        made = {}
        for variant, old in list(self._made.items()):
            try:
                made[variant] = self._generation(variant, service)
            except RecsmithError as error:
                LOG.error("the arm with model %s cannot take over the change: %s", old.name, error)
                made[variant] = old
        return made

    def replace(self, made: dict[Variant, Generation]) -> None:
        """Put generations in place of those of the same variants."""
        self._made = {variant: made.get(variant, old) for variant, old in self._made.items()}

    def _generation(self, variant: Variant, service: Generation) -> Generation:
        name = variant.model or service.name
        growth = service.growth if name == service.name else self._growth(name)
        ingredients = self._ingredients
        if variant.rules is not None:
            ingredients = replace(ingredients, rules=RulesFile.build(json.loads(variant.rules), where="rules of an arm"))
        return make_generation(name, growth, self._store, ingredients)

    def _growth(self, name: str) -> Growth:
        if name not in self._growths:
            self._growths[name] = self._loaded(name)
        return self._growths[name]

    def _loaded(self, name: str) -> Growth:
        if "/" in name or name.startswith(".") or not (self._folder / name).is_dir():
            raise UserError(f"there is no model `{name}`; GET /models lists them")
        return Growth(load(self._folder / name))


def variant_of(arm: ServedArm) -> Variant:
    """What an arm needs."""
    return Variant(arm.model, None if arm.rules is None else json.dumps(arm.rules, sort_keys=True))


def _with_arm(treatment: Treatment, definition: Definition, name: str) -> Treatment:
    arms = {**treatment.arms, definition.name: name}
    if definition.kind == "interleaving":
        first, second = definition.arms
        return Treatment(arms, variant_of(first), variant_of(second), (first.name, second.name))
    arm = definition.arm(name)
    own = variant_of(arm)  # of several layers, at most one sets it
    variant = treatment.variant if own == SERVICE else own
    return replace(treatment, arms=arms, variant=variant, exploration=arm.exploration or treatment.exploration)


# ---- serving ------------------------------------------------------------------------------------------------------------

Ask = Callable[[Generation, Variant, int], Awaitable[Served]]
"""A list of so many items by a generation that was made for a variant."""


async def serve(bound: BoundTreatment, k: int, ask: Ask, *, memory: dict[str, Any], random: np.random.Generator) -> Served:
    """A person's list under their treatment. `memory`: what is written down with an exploring list, to ask the same again."""
    treatment, exploration = bound.treatment, bound.treatment.exploration
    if treatment.rival is not None and bound.rival is not None:
        asked = ask(bound.generation, treatment.variant, k), ask(bound.rival, treatment.rival, k)
        return _interleaved(treatment, *await asyncio.gather(*asked), k, random)
    if exploration is None or exploration.kind == "none" or fixes_places(bound.generation):
        served = await ask(bound.generation, treatment.variant, k)
        return served._replace(shown=Shown(treatment.arms))
    pool = await ask(bound.generation, treatment.variant, max(k, exploration.candidates))
    if pool.degraded or not pool.items:
        return _cut(pool, np.arange(min(k, len(pool.items))))._replace(shown=Shown(treatment.arms))
    return _explored(treatment, exploration, pool, k, memory, random)


def _explored(
    treatment: Treatment, exploration: Exploration, pool: Served, k: int, memory: dict[str, Any], random: np.random.Generator
) -> Served:
    k = min(k, len(pool.items))
    settings = exploration if exploration.candidates >= k else exploration.override(candidates=k)
    drawn = explore(np.arange(len(pool.items)), np.array(pool.scores), k, settings, random)
    document = {"exploration": {**memory, "explored": drawn.explored}}
    return _cut(pool, drawn.items)._replace(shown=Shown(treatment.arms, drawn.propensities.tolist(), document))


def _interleaved(treatment: Treatment, first: Served, second: Served, k: int, random: np.random.Generator) -> Served:
    """A team draft of two lists; scores are reciprocal ranks, because those of two models cannot be compared."""
    from recsmith.serving.experiments.interleaving import team_draft  # here: a server that does not interleave starts without scipy

    titles = dict(zip((*second.items, *first.items), (*second.titles, *first.titles), strict=True))
    names = list(titles)
    places = {name: place for place, name in enumerate(names)}
    drawn = team_draft([places[item] for item in first.items], [places[item] for item in second.items], k, random)
    items = [names[place] for place in drawn.items]
    weaker = max((first, second), key=lambda served: _SOURCES.index(served.source))
    return Served(
        items=items,
        scores=[1.0 / rank for rank in range(1, len(items) + 1)],
        titles=[titles[item] for item in items],
        model=f"{first.model} + {second.model}"[:256],
        source=weaker.source,
        degraded=tuple(dict.fromkeys((*first.degraded, *second.degraded))),
        shown=Shown(treatment.arms, [], {"teams": [treatment.teams[team] for team in drawn.teams]}),
    )


_SOURCES = ("cache", "model", "stale", "popularity")
"""From what is as good as the model down."""


def _cut(served: Served, places: np.ndarray) -> Served:
    chosen = places.tolist()
    return served._replace(
        items=[served.items[place] for place in chosen],
        scores=[served.scores[place] for place in chosen],
        titles=[served.titles[place] for place in chosen],
    )


def fixes_places(generation: Generation) -> bool:
    """Whether the rules say of places or counts of a list what a draw among its candidates would break."""
    rules = generation.rule_set
    return rules is not None and bool(rules.file.pin or rules.file.quota or rules.file.calibration)
