"""People on the page: some drawn by lot, and some whom every system failed although what they took next was popular."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from recsmith.background import Background
from recsmith.measurement import MeasuredRun
from recsmith.seeding import generator

EXAMPLES = 3
FAILURES = 3
_SHOWN = 5
"""Events of a history and places of a list that are shown."""


@dataclass(frozen=True)
class Shown:
    """An item on the page."""

    item: int
    title: str
    hit: bool = False
    """Whether it was held out."""


@dataclass(frozen=True)
class Example:
    """One person: what was known, what came next, and the lists of the systems."""

    user: str
    history: tuple[Shown, ...]
    """The last known, oldest first."""
    held_out: tuple[Shown, ...]
    lists: tuple[tuple[Shown, ...], ...]
    """One per system, best first."""
    remark: str = ""

    def items(self) -> Iterator[int]:
        """Every item index that stands here."""
        for shown in (self.history, self.held_out, *self.lists):
            yield from (entry.item for entry in shown)


def by_lot(background: Background, runs: Sequence[MeasuredRun], *, seed: int) -> list[Example]:
    """People drawn by lot among the cases, so that nobody picked the flattering ones; those known in training where there are any."""
    cases = background.cases
    known = np.flatnonzero(cases.users >= 0)
    rows = generator(seed, "examples").permutation(known if len(known) else np.arange(len(cases)))[:EXAMPLES]
    return [_example(background, runs, int(row)) for row in rows]


def failed(background: Background, runs: Sequence[MeasuredRun], values: Sequence[np.ndarray]) -> list[Example]:
    """The people whom every system gave nothing although a target of theirs is popular: the failures that were easiest to avoid."""
    cases = background.cases
    hopeless = np.all([np.nan_to_num(own, nan=1.0) == 0 for own in values], axis=0)
    popularity = background.trained[cases.targets.values]
    best = np.maximum.reduceat(popularity, cases.targets.offsets[:-1]) if len(popularity) else np.zeros(0, dtype=np.int64)
    rows = np.flatnonzero(hopeless)
    rows = rows[np.argsort(-best[rows], kind="stable")][:FAILURES]
    rank = np.argsort(np.argsort(-background.trained, kind="stable"))
    examples = []
    for row in rows:
        targets = cases.targets.row(int(row))
        place = int(rank[targets[np.argmax(background.trained[targets])]]) + 1
        remark = f"Held out was number {place:,} by popularity of {background.items:,} items; no system listed it."
        examples.append(_example(background, runs, int(row), remark))
    return examples


def _example(background: Background, runs: Sequence[MeasuredRun], row: int, remark: str = "") -> Example:
    cases = background.cases
    name = background.log.users.raw(np.array([cases.users[row]])).to_list()[0] if cases.users[row] >= 0 else None
    lists = [run.lists.items[row, :_SHOWN] for run in runs if run.lists is not None]
    targets = cases.targets.row(row)
    return Example(
        user=f"{name}" if name is not None else f"number {row + 1} (unseen in training)",
        history=_shown(background, cases.histories.row(row)[-_SHOWN:]),
        held_out=_shown(background, targets[:_SHOWN]),
        lists=tuple(_shown(background, items[items >= 0], targets) for items in lists),
        remark=remark,
    )


def _shown(background: Background, items: np.ndarray, targets: np.ndarray | None = None) -> tuple[Shown, ...]:
    hits = np.zeros(len(items), dtype=bool) if targets is None else np.isin(items, targets)
    return tuple(Shown(int(item), title, bool(hit)) for item, title, hit in zip(items, background.titles(items), hits, strict=True))
