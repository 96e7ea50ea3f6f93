"""Lessons for a ranker: the last training events of some people, among candidates of a retriever."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from recsmith.data import Histories
from recsmith.nn.shortlist import best_outside
from recsmith.protocols import HistoryBatch
from recsmith.seeding import generator


@dataclass(frozen=True)
class Lesson:
    """A case whose answer is known."""

    history: list[int]
    """Items before the event, oldest first."""
    times: Sequence[float]
    """Seconds since the epoch of each of them; empty where the log has no times."""
    candidates: list[int]
    """Items to choose from, shuffled."""
    right: int
    """Place of the item that came next among the candidates."""
    person: int
    """Row of the training histories."""


def draw_lessons(histories: Histories, retriever: nn.Module, *, count: int, candidates: int, max_history: int, seed: int) -> list[Lesson]:
    """The last events of `count` people at random who have at least two. An event that is not among the retriever's best `candidates`
    takes the place of the last of them. The retriever has seen the events; shuffling keeps its order from saying so."""
    random = generator(seed, "lessons")
    rows = np.flatnonzero(histories.lengths > 1)
    lessons = []
    for row in np.sort(random.permutation(rows)[:count]):
        start, stop = int(histories.offsets[row]), int(histories.offsets[row + 1])
        told = histories.values[max(start, stop - 1 - max_history) : stop - 1]
        times = [] if histories.times is None else histories.times[max(start, stop - 1 - max_history) : stop - 1].tolist()
        before = torch.from_numpy(histories.values[start : stop - 1].copy())
        with torch.no_grad():
            scores = retriever.score(HistoryBatch(before, torch.tensor([0, len(before)])))  # type: ignore[operator]
        target = int(histories.values[stop - 1])
        found = best_outside(scores, [before[before != target]], candidates)[0]
        if target not in found:
            found = [*found[: candidates - 1], target]
        shuffled = random.permutation(found).tolist()
        if len(shuffled) > 1:
            lessons.append(Lesson(told.tolist(), times, shuffled, shuffled.index(target), int(row)))
    return lessons
