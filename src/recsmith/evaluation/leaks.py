"""What goes wrong in evaluations before the first model is measured: leaks, ties and twins, counted on the split itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from recsmith.data import Cases, Histories, Log, Split
from recsmith.data import popularity as count_events
from recsmith.evaluation.as_json import json_ready
from recsmith.evaluation.relevance import members_of_rows

TWIN_LENGTH = 5
"""Shortest history that counts when it is found a second time: short ones coincide by chance."""
_DAY = 86_400
_UNSEEN_PEOPLE = ("strong-generalisation", "user-cold-start")


@dataclass(frozen=True)
class LeakCheck:
    """One thing that goes wrong in evaluations, and whether it did here."""

    name: str
    finding: str
    """What was counted, in words."""
    value: float
    """The same as a number: a count or a share."""
    passed: bool | None
    """None for a finding that is neither right nor wrong but changes how figures are read."""

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return json_ready(self)


def leak_checks(
    log: Log, cut: Split, *, split: Literal["validation", "test"] = "test", popularity: np.ndarray | None = None
) -> tuple[LeakCheck, ...]:
    """Every check on one part of a split of `log`; `popularity`, `[item]`, is what the system says it counted in training.

    Held-out events in training; popularity that counts other events; held-out people who train all the same (under protocols that
    promise strangers); twins, people with the very history of somebody else; training events later than the targets (Ji et al. 2023);
    targets that depend on the tie rule; times without a time of day; targets the person had before; targets that nobody has in training.
    """
    cases: Cases = getattr(cut, split)
    return tuple(_checks(log, cut, cases, split, popularity))


def leaked_events(histories: Histories, cut: Split) -> int:
    """Events that stand in training and are held out too: more often in the parts together than in the log."""
    parts = [_keys(cut.train, cut.items)]
    for cases in (cut.validation, cut.test):
        known = cases.users >= 0  # people whom training never saw have nothing there that could leak
        held_out = cases.targets.take(np.flatnonzero(known))
        parts.append(cases.users[known][held_out.rows] * cut.items + held_out.values)
    together, counts = np.unique(np.concatenate(parts), return_counts=True)
    logged, times = np.unique(_keys(histories, cut.items), return_counts=True)
    place = np.minimum(np.searchsorted(logged, together), len(logged) - 1)
    allowed = np.where(logged[place] == together, times[place], 0)
    return int(np.maximum(counts - allowed, 0).sum())


def twins(histories: Histories, *, shortest: int = TWIN_LENGTH) -> int:
    """Rows of at least `shortest` events that are equal, event for event, to another row."""
    long = np.flatnonzero(histories.lengths >= shortest)
    if not len(long):
        return 0
    kept = histories.take(long)
    place = np.arange(len(kept.values)) - np.repeat(kept.offsets[:-1], kept.lengths)
    spread = kept.values.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    sums = np.add.reduceat(_mixed(spread + place.astype(np.uint64)), kept.offsets[:-1])
    _, counts = np.unique(sums, return_counts=True)
    return int(counts[counts > 1].sum())


def _checks(log: Log, cut: Split, cases: Cases, split: str, popularity: np.ndarray | None) -> Iterator[LeakCheck]:
    targets, people = len(cases.targets.values), len(log.histories)
    leaked = leaked_events(log.histories, cut)
    yield LeakCheck("held-out events in training", f"{leaked:,} of the held-out events", leaked, leaked == 0)
    if popularity is not None:
        other = int(np.abs(popularity - count_events(cut.train, cut.items)).sum()) if len(popularity) == cut.items else -1
        words = "counted in training events only" if other == 0 else f"differs from the training events in {other:,} counts"
        yield LeakCheck("popularity from training", words, other, other == 0)
    if cut.config.name in _UNSEEN_PEOPLE:
        trained = int(np.unique(cases.users[cases.users >= 0]).size)
        yield LeakCheck("held-out people in training", f"{_share(trained, len(cases))} of the cases", trained, trained == 0)
    same = twins(log.histories)
    words = f"{_share(same, people)} of the people have the very history of somebody else ({TWIN_LENGTH} events or more)"
    yield LeakCheck("the same person twice", words, same / max(people, 1), same == 0)
    yield from _times(log, cut, cases, split)
    seen = int(members_of_rows(cases.targets, cases.histories, item_count=cut.items).sum())
    masked = "" if cut.config.repeats_items else "; where items seen are masked they cannot be hit"
    yield LeakCheck("targets the person had before", f"{_share(seen, targets)} of the targets{masked}", seen / max(targets, 1), None)
    cold = int(cut.figures.get(f"{split}_targets_untrained", 0))
    yield LeakCheck("targets that nobody has in training", f"{_share(cold, targets)} of the targets", cold / max(targets, 1), None)


def _times(log: Log, cut: Split, cases: Cases, split: str) -> Iterator[LeakCheck]:
    ties = int(cut.figures.get(f"{split}_ties", 0))
    words = f"{_share(ties, len(cases))} of the cases; {cut.figures.get('tie_rule')}"
    yield LeakCheck("targets that depend on the tie rule", words, ties / max(len(cases), 1), None)
    if log.histories.times is None or cut.train.times is None or cases.targets.times is None or not len(cases.targets.times):
        return
    by_day = float((log.histories.times % _DAY == 0).mean())
    yield LeakCheck("times without a time of day", f"{by_day:.1%} of the events; within a day the order is that of the file", by_day, None)
    ordered = np.sort(cut.train.times)
    later = float(1 - np.searchsorted(ordered, cases.targets.times, side="right").mean() / max(len(ordered), 1))
    yield LeakCheck("training events later than the targets", f"{later:.1%} of the training events, for the average target", later, None)


def _keys(rows: Histories, items: int) -> np.ndarray:
    return rows.rows * items + rows.values


def _mixed(values: np.ndarray) -> np.ndarray:
    """Well-spread 64-bit numbers of 64-bit numbers (the finaliser of SplitMix64: Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _share(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} ({part / whole:.1%})" if whole else "none"
