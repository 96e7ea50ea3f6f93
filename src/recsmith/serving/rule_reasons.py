"""Why was this item shown, or not? Every reason that applies, in words, from the rules, the list and what the person had already."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from recsmith.data import RawId
from recsmith.decoding import Allow, AtLeast, AtMost, Boost, Condition, Deny, ItemTable, Pin
from recsmith.serving.rule_set import NOBODY, NamedRule, Person, RuleSet


@dataclass(frozen=True)
class Reason:
    """One thing that spoke for or against an item."""

    kind: str
    """unknown item, excluded, allow, deny, cap, quota, boost, pin or score."""
    rule: str | None
    """Name of the rule, None where none is behind it."""
    text: str
    """In words."""


@dataclass(frozen=True)
class Explanation:
    """Everything that is known about an item and a list."""

    item: RawId
    position: int | None
    """Place in the list, from 1; None when it is not there."""
    reasons: tuple[Reason, ...]
    """For an item that is not there, what kept it out comes first."""

    @property
    def shown(self) -> bool:
        """Whether the list holds the item."""
        return self.position is not None


def explain_item(
    rules: RuleSet,
    item: RawId,
    shown: Sequence[RawId],
    *,
    person: Person = NOBODY,
    excluded: Mapping[str, Collection[RawId]] | None = None,
    score: float | None = None,
    scores: Sequence[float] | None = None,
) -> Explanation:
    """Explain the place of `item` in the finished list `shown`, best first, or its absence.

    `excluded`: what may not be shown to the person, by why: `{"bought already": ids, …}`. `score`: what the model gave the item,
    boosts included, and `scores` those of the list, where they are known.
    """
    table = rules.table
    index = table.items.index(item)
    if index < 0:
        return Explanation(item, None, (Reason("unknown item", None, f"`{item}` is not in the catalogue of this model"),))
    places = {table.items.index(other): place for place, other in enumerate(shown, start=1)}
    position = places.get(index)
    named = rules.rules(person)
    against = [*_excluded(table, index, excluded or {}), *_masks(named, table, index)]
    if position is not None:
        return Explanation(item, position, (*_helped(named, table, index, position), *_by_score(position, score, None)))
    against += _caps(named, table, index, [other for other in places if other >= 0])
    helped = _helped(named, table, index, None)
    if not against:
        crowded = any(isinstance(one.rule, Pin | AtLeast) for one in named) or rules.file.calibration is not None
        against = _by_score(None, score, scores, crowded=crowded)
    return Explanation(item, None, (*against, *helped))


def _excluded(table: ItemTable, index: int, excluded: Mapping[str, Collection[RawId]]) -> list[Reason]:
    return [Reason("excluded", None, why) for why, ids in excluded.items() if index in table.items.indices(list(ids)).tolist()]


def _masks(named: Sequence[NamedRule], table: ItemTable, index: int) -> list[Reason]:
    found = []
    for one in named:
        if isinstance(one.rule, Allow) and not one.rule.where.holds(table)[index]:
            found.append(Reason("allow", one.name, f"rule `{one.name}` allows only other items{_values(one.rule.where, table, index)}"))
        if isinstance(one.rule, Deny) and one.rule.where.holds(table)[index]:
            found.append(Reason("deny", one.name, f"rule `{one.name}` denies it{_values(one.rule.where, table, index)}"))
    return found


def _caps(named: Sequence[NamedRule], table: ItemTable, index: int, shown: list[int]) -> list[Reason]:
    """Caps that the list had used up."""
    found = []
    for one in named:
        if not isinstance(one.rule, AtMost):
            continue
        counted = np.ones(len(table), dtype=bool) if one.rule.where is None else one.rule.where.holds(table)
        if not counted[index]:
            continue
        others = [other for other in shown if counted[other]]
        if one.rule.column is None:
            full, what = len(others) >= one.rule.count, "such items"
        else:
            groups = table.groups(one.rule.column)
            used = np.bincount(groups.take(np.array(others, dtype=np.int64)).values, minlength=int(groups.values.max(initial=0)) + 1)
            own = groups.row(index)
            full = bool((used[own] >= one.rule.count).any())
            what = f"items with its {one.rule.column} ({_value(table, one.rule.column, index)})"
        if full:
            found.append(Reason("cap", one.name, f"rule `{one.name}` allows at most {one.rule.count} {what}, and the list has them"))
    return found


def _helped(named: Sequence[NamedRule], table: ItemTable, index: int, position: int | None) -> list[Reason]:
    """Pins, quotas and boosts that concern the item."""
    found = []
    for one in named:
        if isinstance(one.rule, Pin) and table.items.index(one.rule.item) == index:
            missed = "" if position == one.rule.position else "; something else kept it from there"
            found.append(Reason("pin", one.name, f"rule `{one.name}` pins it to place {one.rule.position}{missed}"))
        elif isinstance(one.rule, AtLeast) and position is not None and one.rule.where.holds(table)[index]:
            found.append(Reason("quota", one.name, f"it counts for rule `{one.name}`, which asks for at least {one.rule.count} such items"))
        elif isinstance(one.rule, Boost) and one.rule.where.holds(table)[index]:
            way = "up" if one.rule.bonus > 0 else "down"
            found.append(Reason("boost", one.name, f"rule `{one.name}` moves it {way}: {one.rule.bonus:+.3g} on its score"))
    return found


def _by_score(position: int | None, score: float | None, scores: Sequence[float] | None, *, crowded: bool = False) -> list[Reason]:
    if position is not None:
        with_score = "" if score is None else f" with score {score:.4g}"
        return [Reason("score", None, f"the model ranks it at place {position}{with_score}, among what the rules leave")]
    if score is None or not scores:
        return [Reason("score", None, "no rule kept it out: the model prefers the items of the list")]
    if score <= min(scores):
        return [Reason("score", None, f"no rule kept it out: its score {score:.4g} is not above the list's lowest, {min(scores):.4g}")]
    why = "pins or quotas took the places" if crowded else "the search did not come by it; more beams would"
    return [Reason("score", None, f"its score {score:.4g} is above the list's lowest, {min(scores):.4g}, but {why}")]


def _values(condition: Condition, table: ItemTable, index: int) -> str:
    """What the item has in the columns that a condition reads."""
    columns = list(dict.fromkeys(_columns(condition)))
    return ": " + "; ".join(f"its {column} is {_value(table, column, index)}" for column in columns) if columns else ""


def _columns(condition: object) -> Iterator[str]:
    if isinstance(column := getattr(condition, "column", None), str):
        yield column
    for part in ("left", "right", "inner"):
        if hasattr(condition, part):
            yield from _columns(getattr(condition, part))


def _value(table: ItemTable, column: str, index: int) -> str:
    value = table.column(column)[index]
    if value is None:
        return "not known"
    return ", ".join(map(str, value)) if isinstance(value, pl.Series) else str(value)
