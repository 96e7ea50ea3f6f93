"""Small made-up logs whose right answers are known."""

from __future__ import annotations

import numpy as np

from recsmith.data import Histories, ItemCodes
from recsmith.seeding import generator

ITEMS = 12
"""Size of the catalogue of all logs here."""

_DAY = 86_400.0


def checkerboard(*, users: int = 48, length: int = 4, seed: int = 0) -> Histories:
    """User u has `length` random items of the parity of u: the right answer is the unseen items of that parity, before all others."""
    random = generator(seed, "checkerboard")
    same = np.arange(0, ITEMS, 2)
    return timed(Histories.from_rows([(random.permutation(same)[:length] + user % 2).tolist() for user in range(users)]))


def cycles(*, users: int = 48, longest: int = 8, seed: int = 0) -> Histories:
    """Item i is followed by item i + 1, the last one by item 0; rows start anywhere and have 2 … `longest` events."""
    random = generator(seed, "cycles")
    lengths = random.integers(2, longest + 1, users)
    return timed(Histories.from_rows([((user + np.arange(length)) % ITEMS).tolist() for user, length in enumerate(lengths)]))


def awkward(longest: int = 80) -> Histories:
    """Rows that models stumble over: empty, one item, one item again and again, everything, very long; and an ordinary one."""
    rows = [[], [3], [5] * 7, list(range(ITEMS)), [], [item % ITEMS for item in range(longest)], [2, 4, 6]]
    return timed(Histories.from_rows(rows))


def timed(histories: Histories) -> Histories:
    """The same rows with a day between the events of a row, all of weight 1."""
    places = np.arange(len(histories.values)) - np.repeat(histories.offsets[:-1], histories.lengths)
    weights = np.ones(len(places), dtype=np.float32)
    return Histories(histories.values, histories.offsets, places * _DAY, weights)


def full_codes() -> ItemCodes:
    """Codes for the `ITEMS` items in which every combination of codes is an item."""
    items = np.arange(ITEMS)
    return ItemCodes(np.stack([items % 3, items // 3 % 2, items // 6], axis=1), (3, 2, 2))
