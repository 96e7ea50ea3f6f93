"""Conditions on items: small values that say which items they hold for, and compose with `&`, `|` and `~`.

    InStock() & PriceRange(high=20) & ~OneOf("genres", ["Horror"])

They read the catalogue's columns through an `ItemTable` and say nothing about what follows: that is the business of `rules`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from recsmith.data import RawId
from recsmith.decoding.item_table import ItemTable
from recsmith.errors import UserError

DAY = 86_400.0

AGES = {"all": 0, "g": 0, "u": 0, "pg": 8, "pg-13": 13, "r": 17, "nc-17": 18, "e": 0, "e10+": 10, "t": 13, "m": 17, "ao": 18}
"""Age from which an item is suitable, for the ratings whose name does not hold that age: MPA, BBFC and ESRB."""


class Condition(ABC):
    """Base: something that holds for some items of a table."""

    @abstractmethod
    def holds(self, table: ItemTable) -> np.ndarray:
        """Bool `[item]`. Raises `UserError` when the table has no such column or it holds something else."""

    def __and__(self, other: Condition) -> Condition:
        return _Both(self, other)

    def __or__(self, other: Condition) -> Condition:
        return _Either(self, other)

    def __invert__(self) -> Condition:
        return _Not(self)


@dataclass(frozen=True)
class _Both(Condition):
    left: Condition
    right: Condition

    def holds(self, table: ItemTable) -> np.ndarray:
        return self.left.holds(table) & self.right.holds(table)


@dataclass(frozen=True)
class _Either(Condition):
    left: Condition
    right: Condition

    def holds(self, table: ItemTable) -> np.ndarray:
        return self.left.holds(table) | self.right.holds(table)


@dataclass(frozen=True)
class _Not(Condition):
    inner: Condition

    def holds(self, table: ItemTable) -> np.ndarray:
        return ~self.inner.holds(table)


@dataclass(frozen=True)
class Items(Condition):
    """The item is one of these raw ids; ids that the catalogue does not hold are skipped."""

    ids: Sequence[RawId]

    def holds(self, table: ItemTable) -> np.ndarray:
        found = np.zeros(len(table), dtype=bool)
        found[table.indices(self.ids)] = True
        return found


@dataclass(frozen=True)
class OneOf(Condition):
    """The value of `column`, or one value of a list, is one of `values`; compared as text, so 1 and "1" are equal."""

    column: str
    values: Sequence[object]

    def holds(self, table: ItemTable) -> np.ndarray:
        return table.is_one_of(self.column, self.values)


@dataclass(frozen=True)
class Between(Condition):
    """`low` ≤ value ≤ `high`, either may be None; items without a value count as `missing`."""

    column: str
    low: float | None = None
    high: float | None = None
    missing: bool = False

    def __post_init__(self) -> None:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise UserError(f"no value of `{self.column}` is at least {self.low:g} and at most {self.high:g}; swap the two")

    def holds(self, table: ItemTable) -> np.ndarray:
        values = table.numbers(self.column)
        found = ~np.isnan(values)
        if self.low is not None:
            found &= values >= self.low
        if self.high is not None:
            found &= values <= self.high
        return found | (np.isnan(values) & self.missing)


@dataclass(frozen=True)
class PriceRange(Condition):
    """The price is at least `low` and at most `high`; items without a price are left out unless `missing`."""

    low: float | None = None
    high: float | None = None
    column: str = "price"
    missing: bool = False

    def __post_init__(self) -> None:
        Between(self.column, self.low, self.high)

    def holds(self, table: ItemTable) -> np.ndarray:
        return Between(self.column, self.low, self.high, self.missing).holds(table)


@dataclass(frozen=True)
class InStock(Condition):
    """At least `at_least` pieces are there; a column of true and false works too. Items without a figure count as `missing`."""

    column: str = "stock"
    at_least: float = 1
    missing: bool = False

    def holds(self, table: ItemTable) -> np.ndarray:
        return Between(self.column, low=self.at_least, missing=self.missing).holds(table)


@dataclass(frozen=True)
class Fresh(Condition):
    """The time in `column` (dates, or seconds since the epoch) is at most `days` ago; items without a time count as `missing`."""

    days: float
    column: str
    missing: bool = False

    def __post_init__(self) -> None:
        if self.days <= 0:
            raise UserError(f"nothing is fresher than {self.days:g} days; give a number above 0")

    def holds(self, table: ItemTable) -> np.ndarray:
        seconds = table.seconds(self.column)
        return (seconds >= table.now - self.days * DAY) | (np.isnan(seconds) & self.missing)


@dataclass(frozen=True)
class Region(Condition):
    """The item is offered in region `name`; an item without a region is offered everywhere unless `missing` is False."""

    name: str
    column: str = "region"
    missing: bool = True

    def holds(self, table: ItemTable) -> np.ndarray:
        nowhere = table.column(self.column).is_null().to_numpy()
        return table.is_one_of(self.column, [self.name]) | (nowhere & self.missing)


@dataclass(frozen=True)
class AgeRating(Condition):
    """The item is suitable for somebody `age` years old.

    The column holds ages as numbers, text with an age in it ("12+", "FSK 16", "PG-13") or a rating of `AGES`. Items without a rating
    count as `missing`. Raises `UserError` naming the first value that cannot be read.
    """

    age: float
    column: str = "age_rating"
    missing: bool = False

    def holds(self, table: ItemTable) -> np.ndarray:
        series = table.column(self.column)
        if series.dtype.is_numeric():
            return Between(self.column, high=self.age, missing=self.missing).holds(table)
        values = series.cast(pl.String)
        names = values.unique().drop_nulls().to_list()
        suitable = [name for name in names if _age_of(name, self.column) <= self.age]
        return values.is_in(suitable).fill_null(self.missing).to_numpy()


def _age_of(rating: str, column: str) -> int:
    name = rating.strip().lower()
    if name in AGES:
        return AGES[name]
    number = re.search(r"\d+", name)
    if number is None:
        known = ", ".join(f"`{known}`" for known in AGES)
        raise UserError(f"age rating {rating!r} in column `{column}` names no age; write a number such as `12+`, or one of: {known}")
    return int(number.group())
