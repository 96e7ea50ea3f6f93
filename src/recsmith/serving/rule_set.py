"""`RuleSet`: a rules file on one catalogue, ready for one person after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recsmith.data import Histories
from recsmith.decoding import (
    AgeRating,
    Allow,
    AtLeast,
    AtMost,
    Boost,
    BoundRules,
    Deny,
    Fresh,
    InStock,
    ItemTable,
    Pin,
    PriceRange,
    Region,
    Rule,
    bind_rules,
)
from recsmith.decoding.rules import Quota
from recsmith.errors import ConfigError, UserError
from recsmith.serving.rule_conditions import read_condition
from recsmith.serving.rules_file import CalibrationRule, RulesFile

_KEPT = 256
"""Bound rules that are kept: one for each region and age that asks."""
_HOUR = 3_600


@dataclass(frozen=True)
class Person:
    """What rules may ask about who asks."""

    region: str | None = None
    age: float | None = None
    """In years."""


NOBODY = Person()
"""Somebody of whom nothing is known."""


def person_of(attributes: dict[str, Any]) -> Person:
    """What rules may ask about a person, as far as it was written and makes sense."""
    region, age = attributes.get("region"), attributes.get("age")
    known = isinstance(age, int | float) and not isinstance(age, bool)
    return Person(region if isinstance(region, str) else None, float(age) if known else None)  # type: ignore[arg-type]


@dataclass(frozen=True)
class NamedRule:
    """A rule and what it is called where answers are explained."""

    name: str
    rule: Rule


class RuleSet:
    """The rules of `file` on the items of `table`; hand in a new table (and so a new set) when stock or prices change."""

    def __init__(self, file: RulesFile, table: ItemTable) -> None:
        """Raises `ConfigError` naming the rule when it does not fit the catalogue (a missing column, an unknown pinned item, …)."""
        self.file = file
        self.table = table
        self._bound: dict[tuple[Any, ...], BoundRules] = {}
        self._members: dict[int, np.ndarray] = {}
        self._check()

    def rules(self, person: Person = NOBODY) -> list[NamedRule]:
        """What holds for a person, in the order of the file's sections."""
        return [*self._singles(person), *self._listed()]

    def bound(self, person: Person = NOBODY, *, k: int = 10, history: Sequence[int] | np.ndarray = ()) -> BoundRules:
        """The rules as the decoders take them. `history`: item indices, for calibration. The same object comes back for people alike."""
        bound = self._common(person)
        calibration = self.file.calibration
        if calibration is None or not len(history):
            return bound
        quotas = self._calibrated(calibration, np.asarray(history, dtype=np.int64), k)
        return replace(bound, quotas=(*bound.quotas, *quotas)) if quotas else bound

    def _common(self, person: Person) -> BoundRules:
        region = person.region if self.file.region is not None and self.file.region.name is None else None
        age = person.age if self.file.age_rating is not None else None
        key = (region, age, self.table.now // _HOUR if self._depends_on_time else 0)
        if key not in self._bound:
            while len(self._bound) >= _KEPT:
                del self._bound[next(iter(self._bound))]
            self._bound[key] = bind_rules([named.rule for named in self.rules(person)], self.table)
        return self._bound[key]

    @property
    def _depends_on_time(self) -> bool:
        listed = (*self.file.allow, *self.file.deny, *self.file.cap, *self.file.quota, *self.file.boost)
        return self.file.freshness is not None or any("days" in str(rule.where) for rule in listed)

    def _singles(self, person: Person) -> Iterator[NamedRule]:
        file = self.file
        if file.stock is not None:
            yield NamedRule("stock", Allow(InStock(file.stock.column, file.stock.at_least, file.stock.missing)))
        if file.price is not None:
            yield NamedRule("price", Allow(PriceRange(file.price.low, file.price.high, file.price.column, file.price.missing)))
        if file.freshness is not None:
            yield NamedRule("freshness", Allow(Fresh(file.freshness.days, file.freshness.column, file.freshness.missing)))
        if file.region is not None:
            name = file.region.name or person.region
            if name is not None or file.region.unknown == "deny":
                yield NamedRule("region", Allow(Region(name or "", file.region.column, file.region.missing)))
        if file.age_rating is not None:
            age = file.age_rating.unknown if person.age is None else person.age
            yield NamedRule("age_rating", Allow(AgeRating(age, file.age_rating.column, file.age_rating.missing)))

    def _listed(self) -> Iterator[NamedRule]:
        for kind, rows in (("allow", self.file.allow), ("deny", self.file.deny)):
            make: Any = Allow if kind == "allow" else Deny
            for number, row in enumerate(rows, start=1):
                yield NamedRule(row.name or f"{kind}[{number}]", make(read_condition(row.condition())))
        for number, cap in enumerate(self.file.cap, start=1):
            where = read_condition(cap.condition()) if cap.condition() else None
            yield NamedRule(cap.name or f"cap[{number}]", AtMost(cap.at_most, cap.column, where))
        for number, quota in enumerate(self.file.quota, start=1):
            yield NamedRule(quota.name or f"quota[{number}]", AtLeast(quota.at_least, read_condition(quota.condition())))
        for number, boost in enumerate(self.file.boost, start=1):
            yield NamedRule(boost.name or f"boost[{number}]", Boost(read_condition(boost.condition()), boost.factor, boost.add))
        for number, pin in enumerate(self.file.pin, start=1):
            yield NamedRule(pin.name or f"pin[{number}]", Pin(pin.item, pin.position))

    def _check(self) -> None:
        somebody = Person(region=self.file.region.name or "-" if self.file.region is not None else None)
        pins: list[Rule] = []
        for named in self.rules(somebody):
            pins += [named.rule] if isinstance(named.rule, Pin) else []
            try:
                bind_rules(pins if isinstance(named.rule, Pin) else [named.rule], self.table)
            except UserError as error:
                raise ConfigError(f"rule `{named.name}` does not fit: {error}") from None
        if self.file.calibration is not None:
            try:
                self.table.groups(self.file.calibration.column)
            except UserError as error:
                raise ConfigError(f"rule `calibration` does not fit: {error}") from None

    # ---- calibration ----

    def _calibrated(self, rule: CalibrationRule, history: np.ndarray, k: int) -> list[Quota]:
        """The quotas of a history's categories, the largest first."""
        groups = self.table.groups(rule.column)
        shares = category_shares(groups, history)
        places = np.floor(k * rule.strength * shares + 1e-9).astype(int)
        wanted = [int(category) for category in np.argsort(-places, kind="stable") if places[category] > 0]
        return [Quota(int(places[category]), self._members_of(groups, category)) for category in wanted]

    def _members_of(self, groups: Histories, category: int) -> np.ndarray:
        """Which items have the category, bool `[item]`."""
        if category not in self._members:
            members = np.zeros(len(groups), dtype=bool)
            members[groups.rows[groups.values == category]] = True
            self._members[category] = members
        return self._members[category]


def category_shares(groups: Histories, history: np.ndarray) -> np.ndarray:
    """Share of each category in a history of item indices, float64 `[category]`; an item spreads a weight of 1 over its own."""
    rows = groups.take(history[history >= 0])
    width = int(groups.values.max(initial=-1)) + 1
    weights = 1.0 / np.repeat(np.maximum(rows.lengths, 1), rows.lengths)
    counts = np.bincount(rows.values, weights=weights, minlength=width)
    return counts / counts.sum() if counts.sum() > 0 else counts
