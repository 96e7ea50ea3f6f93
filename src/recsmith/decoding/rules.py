"""Business rules: what a list must and must not hold, applied while it is being searched for, never by filtering a finished list.

    rules = [Allow(InStock()), Deny(OneOf("genres", ["Horror"])), AtMost(2, "provider"), Boost(Fresh(30, "added"), factor=2)]
    recommender.recommend(users=[1], rules=rules)

A list under rules is defined as follows, and is exactly this for models that score the catalogue and for beam searches with as many
beams as items; fewer beams may miss items, but never break a rule.

1. Only items that every `Allow` holds for and no `Deny`, and that are not excluded for the row, count. Boosts are part of the score.
2. Pinned items that count stand at their positions, in lists long enough to have them; they use up caps and fill quotas.
3. For each `AtLeast`, in the order given, the best items that it asks for are taken, until there are enough.
4. The best other items fill the list. Steps 3 and 4 skip an item that would be one too many for an `AtMost`.
5. Items that are not pinned are ordered by score, ties by the smaller item index. A list is short only when no item is left to take.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from recsmith.data import Histories, RawId, offsets_of
from recsmith.decoding.conditions import Condition, Items
from recsmith.decoding.item_table import ItemTable
from recsmith.errors import UserError


@dataclass(frozen=True)
class Allow:
    """Only items for which the condition holds."""

    where: Condition


@dataclass(frozen=True)
class Deny:
    """No item for which the condition holds."""

    where: Condition


@dataclass(frozen=True)
class AtMost:
    """At most `count` items of a list share a value of `column` (each value of a list counts); or at most `count` where a condition holds.

    With both, values are counted only among the items where the condition holds. Items without a value are not capped.
    """

    count: int
    column: str | None = None
    where: Condition | None = None

    def __post_init__(self) -> None:
        if self.column is None and self.where is None:
            raise UserError("a cap needs a `column` whose values it counts, or a condition `where`; example: AtMost(2, 'brand')")
        if self.count < 0:
            raise UserError(f"at most {self.count} items makes no sense; give 0 or more")


@dataclass(frozen=True)
class AtLeast:
    """At least `count` items of a list fulfil the condition, as far as there are such items and places."""

    count: int
    where: Condition

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UserError(f"at least {self.count} items is no rule; give 1 or more, or leave the rule out")


@dataclass(frozen=True)
class Pin:
    """This item stands at this position (from 1)."""

    item: RawId
    position: int

    def __post_init__(self) -> None:
        if self.position < 1:
            raise UserError(f"`{self.item}` cannot be pinned to position {self.position}; positions count from 1")


@dataclass(frozen=True)
class Boost:
    """Moves items up, or down with a factor below 1: log(factor) is added to their score.

    Scores of generating models are log-probabilities and those of models trained by softmax are log-odds, so there `factor` multiplies
    the odds. For other scores (counts, similarities) give `add`, in units of the score, instead.
    """

    where: Condition
    factor: float | None = None
    add: float | None = None

    def __post_init__(self) -> None:
        if (self.factor is None) == (self.add is None):
            raise UserError("a boost takes either `factor` or `add`; example: Boost(where, factor=2)")
        if self.factor is not None and not (0 < self.factor < math.inf):
            raise UserError(f"a boost by the factor {self.factor:g} is not possible; give a number above 0, or use Deny")
        if self.add is not None and not math.isfinite(self.add):
            raise UserError(f"a boost by {self.add} is not possible; give a finite number, or use Deny")

    @property
    def bonus(self) -> float:
        """What is added to the score."""
        return math.log(self.factor) if self.factor is not None else float(self.add or 0.0)


Rule = Allow | Deny | AtMost | AtLeast | Pin | Boost


def must_include(ids: Sequence[RawId]) -> AtLeast:
    """The rule that these items are in the list, wherever their score puts them, as far as they count and there are places."""
    return AtLeast(len(set(ids)), Items(tuple(ids)))


@dataclass(frozen=True)
class Cap:
    """`AtMost` as numbers."""

    count: int
    """From 1: a cap of 0 is a mask."""
    groups: Histories
    """Row i = groups of item i."""


@dataclass(frozen=True)
class Quota:
    """`AtLeast` as numbers."""

    count: int
    items: np.ndarray
    """Which items fill it, bool `[item]`."""


@dataclass(frozen=True, eq=False)
class BoundRules:
    """Rules of one catalogue as arrays: what the decoders take. Made by `bind_rules`; one object may serve any number of calls."""

    size: int
    """Items of the catalogue."""
    allowed: np.ndarray | None = None
    """Which items count, bool `[item]`; None = all."""
    bonus: np.ndarray | None = None
    """Added to the scores, float32 `[item]`; None = nothing."""
    caps: tuple[Cap, ...] = ()
    quotas: tuple[Quota, ...] = ()
    pins: dict[int, int] = field(default_factory=dict)
    """Position from 0 → item index."""

    @property
    def shapes_lists(self) -> bool:
        """Whether there is more than a mask and a bonus per item, so that items of a list depend on each other."""
        return bool(self.caps or self.quotas or self.pins)


def bind_rules(rules: Sequence[Rule], table: ItemTable) -> BoundRules:
    """Read the columns that the rules speak of. Raises `UserError` for a column that is missing or holds something else,
    an unknown pinned item, an item pinned twice or two items pinned to one position."""
    allowed, bonus = np.ones(len(table), dtype=bool), np.zeros(len(table), dtype=np.float32)
    caps: list[Cap] = []
    quotas: list[Quota] = []
    pins: dict[int, int] = {}
    for rule in rules:
        if isinstance(rule, Allow):
            allowed &= rule.where.holds(table)
        elif isinstance(rule, Deny):
            allowed &= ~rule.where.holds(table)
        elif isinstance(rule, Boost):
            bonus += np.float32(rule.bonus) * rule.where.holds(table)
        elif isinstance(rule, AtMost):
            cap = _cap(rule, table)
            if rule.count:
                caps.append(cap)
            else:
                allowed &= cap.groups.lengths == 0
        elif isinstance(rule, AtLeast):
            quotas.append(Quota(rule.count, rule.where.holds(table)))
        elif isinstance(rule, Pin):
            _pin(rule, table, pins)
        else:
            kinds = "Allow, Deny, AtMost, AtLeast, Pin, Boost"
            raise UserError(f"{rule!r} is not a rule; allowed: {kinds} (a bare condition goes into Allow or Deny)")
    return BoundRules(
        size=len(table),
        allowed=None if allowed.all() else allowed,
        bonus=bonus if bonus.any() else None,
        caps=tuple(caps),
        quotas=tuple(quotas),
        pins=pins,
    )


def _cap(rule: AtMost, table: ItemTable) -> Cap:
    counted = np.ones(len(table), dtype=bool) if rule.where is None else rule.where.holds(table)
    if rule.column is None:
        return Cap(rule.count, Histories(np.zeros(int(counted.sum()), dtype=np.int64), offsets_of(counted.astype(np.int64))))
    groups = table.groups(rule.column)
    return Cap(rule.count, groups if rule.where is None else groups.where(counted[groups.rows]))


def _pin(rule: Pin, table: ItemTable, pins: dict[int, int]) -> None:
    item = table.items.index(rule.item)
    if item < 0:
        raise UserError(f"item `{rule.item}` is pinned but not in the catalogue; remove the pin or correct the id")
    if rule.position - 1 in pins:
        raise UserError(f"two items are pinned to position {rule.position}; pin one of them elsewhere")
    if item in pins.values():
        raise UserError(f"item `{rule.item}` is pinned twice; remove one of the pins")
    pins[rule.position - 1] = item
