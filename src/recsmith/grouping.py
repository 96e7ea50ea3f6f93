"""People in groups: by how much is known about them, by their taste for popular items, by what the data say about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from recsmith.background import Background

ACTIVITY = "length of history"
TASTE = "taste for popular items"
_DISTINCT_NUMBERS = 12
"""A number with more values than this is cut into bands."""
_BANDS = 4


@dataclass(frozen=True)
class Labels:
    """The group of each case, and the groups in the order in which to show them."""

    of_cases: Sequence[str | None]
    """None for a case in no group."""
    order: Sequence[str]


def by_activity(background: Background) -> Labels:
    """Thirds of the cases by the number of events known; cases on a border stay together."""
    lengths = background.cases.histories.lengths
    low, high = (int(border) for border in np.quantile(lengths, [1 / 3, 2 / 3], method="lower"))
    names = (f"up to {low:,} events", f"{low + 1:,} to {high:,} events", f"more than {high:,} events")
    return Labels([names[int(length > low) + int(length > high)] for length in lengths], names)


def by_taste(background: Background) -> Labels:
    """Thirds of the cases by the mean popularity of what is in their history; no group for empty histories."""
    histories, names = background.cases.histories, ("niche", "mixed", "mainstream")
    sums = np.bincount(histories.rows, weights=background.trained[histories.values], minlength=len(histories))
    means = np.divide(sums, histories.lengths, out=np.full(len(histories), np.nan), where=histories.lengths > 0)
    if np.isnan(means).all():
        return Labels([None] * len(means), names)
    low, high = np.nanquantile(means, [1 / 3, 2 / 3])
    return Labels([None if np.isnan(mean) else names[int(mean > low) + int(mean > high)] for mean in means], names)


def by_attribute(background: Background, name: str) -> Labels:
    """By what is known about the users; numbers with many values in four bands of about as many people.

    Raises `DataError` when the data have no such attribute.
    """
    found = background.attribute(name)
    numbers = [_number(value) for value in found]
    known = {number for number in numbers if number is not None}
    stated = {value for value in found if value is not None}
    if len(known) <= _DISTINCT_NUMBERS or any(_number(value) is None for value in stated):
        return Labels(found, _in_order(stated))
    borders = np.quantile([number for number in numbers if number is not None], np.linspace(0, 1, _BANDS + 1)[1:-1])
    names = [f"up to {borders[0]:g}", *(f"above {low:g} to {high:g}" for low, high in pairwise(borders)), f"above {borders[-1]:g}"]
    return Labels([None if number is None else names[int(np.searchsorted(borders, number))] for number in numbers], names)


def _in_order(values: set[str]) -> list[str]:
    """By number where all are numbers, else by letters."""
    numbers = {value: _number(value) for value in values}
    if all(number is not None for number in numbers.values()):
        return sorted(values, key=lambda value: numbers[value] or 0.0)
    return sorted(values)


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
