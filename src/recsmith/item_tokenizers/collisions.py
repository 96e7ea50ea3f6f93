"""The collision level: one more code that tells items apart whose learned codes are equal, with room for items to come."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from recsmith.data import ItemCodes
from recsmith.errors import UserError

Alternatives = Callable[[int], Iterable["tuple[int, ...]"]]
"""Row → other prefixes for it, best first."""

_LEAST_SIZE = 8


def with_collision_level(prefixes: np.ndarray, sizes: Sequence[int]) -> ItemCodes:
    """Append the collision level to learned codes `prefixes` int64 `[item, level]` of level sizes `sizes`.

    Its code counts the items that share a prefix, in item order. Its size is twice the largest group, at least 8: a prefix can take
    in as many new items again before `assign_new` has to go elsewhere. (TIGER, 2023, fixes the size by hand.)
    """
    prefixes = np.asarray(prefixes, dtype=np.int64)
    group = prefix_groups(prefixes)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(group[order]) != 0])
    lengths = np.diff(np.r_[starts, len(order)])
    digits = np.empty(len(prefixes), dtype=np.int64)
    digits[order] = np.arange(len(order)) - np.repeat(starts, lengths)
    size = max(_LEAST_SIZE, 2 * int(lengths.max(initial=0)))
    return ItemCodes(np.column_stack([prefixes, digits]), (*map(int, sizes), size))


def prefix_groups(prefixes: np.ndarray) -> np.ndarray:
    """A number per row, int64 `[item]`, equal for equal rows of `prefixes` `[item, level]`."""
    return np.unique(prefixes, axis=0, return_inverse=True)[1].reshape(-1)


def spread_collisions(prefixes: np.ndarray, distances: np.ndarray, alternatives: Alternatives) -> np.ndarray:
    """Move items that share a prefix to their best free alternative; the closest item of each group (`distances` `[item]`) stays.

    Returns the new prefixes; items whose alternatives are all occupied keep theirs.
    """
    moved = prefixes.copy()
    occupied = set(map(tuple, prefixes.tolist()))
    seen: set[tuple[int, ...]] = set()
    for row in np.argsort(distances, kind="stable"):
        prefix = tuple(prefixes[row].tolist())
        if prefix not in seen:
            seen.add(prefix)
            continue
        free = next((other for other in alternatives(int(row)) if other not in occupied), prefix)
        occupied.add(free)
        moved[row] = free
    return moved


def assign_new(prefixes: np.ndarray, taken: ItemCodes, *, alternatives: Alternatives | None = None) -> ItemCodes:
    """Codes of new items with learned codes `prefixes` int64 `[item, level]`, distinct from `taken` and from each other.

    An item gets the lowest free collision code of its prefix; where none is left, that of the first of its `alternatives` which has
    one. Raises `UserError` when there is none at all.
    """
    used: dict[tuple[int, ...], set[int]] = defaultdict(set)
    for *prefix, digit in taken.table.tolist():
        used[tuple(prefix)].add(digit)
    room = taken.sizes[-1]
    table = np.empty((len(prefixes), taken.levels), dtype=np.int64)
    for row, own in enumerate(map(tuple, np.asarray(prefixes, dtype=np.int64).tolist())):
        prefix = own
        if len(used[own]) >= room:
            others = () if alternatives is None else alternatives(row)
            found = next((other for other in others if len(used.get(other, ())) < room), None)
            if found is None:
                raise UserError(
                    f"no free code for new item {row}: all {room} collision codes of prefix {own} and of its alternatives are taken; "
                    "fit the tokenizer again on the whole catalogue"
                )
            prefix = found
        digit = next(digit for digit in range(room) if digit not in used[prefix])
        used[prefix].add(digit)
        table[row] = (*prefix, digit)
    return ItemCodes(table, taken.sizes)
