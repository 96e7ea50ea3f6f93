"""Lists whose items depend on each other (pins, quotas, caps), filled from any search that can be continued.

The definition of such a list stands in `recsmith.decoding.rules`. A search that finds the best items of a catalogue under a mask
is enough to fill it exactly: an item that a full group shuts out is masked, and the search goes on with the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from recsmith.decoding.rules import BoundRules
from recsmith.protocols import Limits, RankedLists


@dataclass(frozen=True)
class Found:
    """What a search found, best first."""

    items: Tensor
    """int64 `[row, found]`; -1 or a key of -inf where there is nothing."""
    keys: Tensor
    """What the search ranked by, float32 `[row, found]`."""
    scores: Tensor
    """What is answered, float32 `[row, found]`."""

    @classmethod
    def nothing(cls, rows: int) -> Found:
        """No item for any row."""
        empty = torch.zeros(rows, 0)
        return cls(empty.long(), empty, empty)

    def rows(self) -> list[list[Entry]]:
        """The items of each row with key and score."""
        columns = (self.items.tolist(), self.keys.tolist(), self.scores.tolist())
        return [
            [Entry(item, key, score) for item, key, score in zip(*row, strict=True) if item >= 0 and key > -np.inf]
            for row in zip(*columns, strict=True)
        ]


@dataclass(frozen=True)
class Entry:
    """An item of a list, with what it was ranked by and what is answered."""

    item: int
    key: float
    score: float


Search = Callable[[np.ndarray, Limits, Sequence[BoundRules], int], Found]
"""`search(rows, limits, rules of each row, count)`: the best `count` items of some rows under masks and bonuses."""

Score = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""`score(rows, items [row, n])`: the scores `[row, n]` of given items, without bonus."""


@dataclass
class ListDraft:
    """The list of one row while it is being filled."""

    rules: BoundRules
    room: int
    entries: dict[int, Entry] = field(default_factory=dict)
    used: list[Counter[int]] = field(init=False)

    def __post_init__(self) -> None:
        self.used = [Counter() for _ in self.rules.caps]

    def admits(self, item: int) -> bool:
        """Whether the item is not taken yet and no cap is in its way."""
        if item in self.entries:
            return False
        pairs = zip(self.rules.caps, self.used, strict=True)
        return all(used[group] < cap.count for cap, used in pairs for group in cap.groups.row(item).tolist())

    def take(self, entry: Entry) -> None:
        """Put an item on the list."""
        self.entries[entry.item] = entry
        self.room -= 1
        for cap, used in zip(self.rules.caps, self.used, strict=True):
            used.update(cap.groups.row(entry.item).tolist())

    def open(self) -> np.ndarray:
        """The items that could still be taken, bool `[item]`."""
        rules = self.rules
        still = np.ones(rules.size, dtype=bool) if rules.allowed is None else rules.allowed.copy()
        still[list(self.entries)] = False
        for cap, used in zip(rules.caps, self.used, strict=True):
            full = [group for group, count in used.items() if count >= cap.count]
            still[cap.groups.rows[np.isin(cap.groups.values, full)]] = False
        return still

    def wanted(self, stage: int, stages: int) -> tuple[int, np.ndarray | None]:
        """How many items a stage still wants, and of which it chooses: a quota each, then any."""
        if stage == stages - 1:
            return self.room, None
        if stage >= len(self.rules.quotas):
            return 0, None
        quota = self.rules.quotas[stage]
        there = sum(bool(quota.items[item]) for item in self.entries)
        return min(self.room, quota.count - there), quota.items


def fill_lists(search: Search, score: Score, k: int, *, pool: int, limits: Limits, rules: Sequence[BoundRules | None]) -> RankedLists:
    """Lists of length k under the rules of each row. `pool` items are asked for at first, before any list needs more."""
    size = next(rule.size for rule in rules if rule is not None)
    none = BoundRules(size)
    own = [none if rule is None else rule for rule in rules]
    everybody = np.arange(len(own))
    drafts = [ListDraft(rule, k) for rule in own]
    _place_pins(drafts, score, k, limits)
    pools = search(everybody, limits, own, pool).rows()
    stages = 1 + max(len(rule.quotas) for rule in own)
    for stage in range(stages):
        _fill_stage(drafts, pools, pool, search, limits, (stage, stages))
    return _answer(drafts, k)


def counting_pins(rules: BoundRules, row: int, k: int, limits: Limits) -> dict[int, int]:
    """Place from 0 → item, ascending, of the pins that count for a row and fit into a list of length k."""
    seen = set() if limits.exclude is None else set(limits.exclude.row(row).tolist())
    masks = [mask for mask in (rules.allowed, limits.allowed) if mask is not None]
    return {
        place: item
        for place, item in sorted(rules.pins.items())
        if place < k and item not in seen and all(bool(mask[item]) for mask in masks)
    }


def _place_pins(drafts: list[ListDraft], score: Score, k: int, limits: Limits) -> None:
    for row, draft in enumerate(drafts):
        pins = list(counting_pins(draft.rules, row, k, limits).values())
        if not pins:
            continue
        scores = score(np.array([row]), np.array([pins]))[0]
        bonus = draft.rules.bonus
        for item, value in zip(pins, scores.tolist(), strict=True):
            total = value if bonus is None else value + float(bonus[item])
            draft.take(Entry(item, total, total))


def _fill_stage(
    drafts: list[ListDraft], pools: list[list[Entry]], pool: int, search: Search, limits: Limits, number: tuple[int, int]
) -> None:
    short = []
    for row, draft in enumerate(drafts):
        _take_from(draft, pools[row], number)
        if draft.wanted(*number)[0] > 0 and len(pools[row]) >= pool:
            short.append(row)
    while short:
        rows = np.array(short)
        masks = [_rest_of(drafts[row], number) for row in short]
        count = max(drafts[row].wanted(*number)[0] for row in short)
        fewer = replace(limits, exclude=None if limits.exclude is None else limits.exclude.take(rows))
        found = search(rows, fewer, masks, count).rows()
        for row, entries in zip(short, found, strict=True):
            _take_from(drafts[row], entries, number)
        short = [row for row, entries in zip(short, found, strict=True) if entries and drafts[row].wanted(*number)[0] > 0]


def _take_from(draft: ListDraft, entries: list[Entry], number: tuple[int, int]) -> None:
    wanted, among = draft.wanted(*number)
    for entry in entries:
        if wanted <= 0:
            return
        if (among is None or among[entry.item]) and draft.admits(entry.item):
            draft.take(entry)
            wanted -= 1


def _rest_of(draft: ListDraft, number: tuple[int, int]) -> BoundRules:
    """A mask of what the stage may still take, with the bonuses of the rules."""
    _, among = draft.wanted(*number)
    still = draft.open()
    return BoundRules(draft.rules.size, allowed=still if among is None else still & among, bonus=draft.rules.bonus)


def _answer(drafts: list[ListDraft], k: int) -> RankedLists:
    answer = RankedLists(np.full((len(drafts), k), -1, dtype=np.int64), np.full((len(drafts), k), -np.inf, dtype=np.float32))
    for row, draft in enumerate(drafts):
        places = {place: item for place, item in sorted(draft.rules.pins.items()) if item in draft.entries and place < k}
        others = [entry for item, entry in draft.entries.items() if item not in set(places.values())]
        ordered = sorted(others, key=lambda entry: (-entry.key, entry.item))
        for place, item in places.items():
            ordered.insert(place, draft.entries[item])
        answer.items[row, : len(ordered)] = [entry.item for entry in ordered]
        answer.scores[row, : len(ordered)] = [entry.score for entry in ordered]
    return answer
