"""Conversation turns as cases: what was said and mentioned so far, and what the next turn should bring. The seam for agents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Literal

import numpy as np

from recsmith.data import Histories
from recsmith.errors import DataError
from recsmith.evaluation.metrics import DEFAULT_CUTOFFS, check_cutoffs, evaluate_lists
from recsmith.evaluation.protocol import identified
from recsmith.evaluation.result import Evaluation
from recsmith.protocols import RankedLists


@dataclass(frozen=True)
class Utterance:
    """Something said."""

    speaker: Literal["seeker", "recommender"]
    text: str


@dataclass(frozen=True)
class Turn:
    """One place of a dialogue at which the recommender is to recommend."""

    dialogue: str
    number: int
    """Of the turn inside its dialogue, from 1."""
    said: tuple[Utterance, ...]
    """Everything said before, oldest first."""
    mentioned: tuple[int, ...]
    """Item indices mentioned before, oldest first."""
    targets: tuple[int, ...]
    """Item indices that the person who recommended in the data gave here."""


AnswerTurns = Callable[[Sequence[Turn], int], RankedLists]
"""Answers turns with lists of length k."""


def evaluate_turns(
    answer: AnswerTurns,
    turns: Sequence[Turn],
    *,
    item_count: int,
    split: Literal["validation", "test"],
    ks: Sequence[int] = DEFAULT_CUTOFFS,
    popularity: np.ndarray | None = None,
    categories: Histories | None = None,
    batch_size: int = 64,
) -> Evaluation:
    """Every metric of `evaluate_lists` over turns; what was mentioned before plays the part of the history.

    `Recall-fresh` is the honest figure: in ReDial-like data many targets were mentioned before and are easy to repeat (He et al. 2023).
    `figures["Recall@k turn n"]` gives the largest cutoff by turn number where at least 20 turns have it. Raises `DataError` for no turns,
    or an answer of another shape.
    """
    if not turns:
        raise DataError(f"the {split} part has no conversation turns; give dialogues with recommendations")
    started = perf_counter()
    cutoffs = check_cutoffs(ks, length=item_count)
    parts = []
    for start in range(0, len(turns), batch_size):
        batch = turns[start : start + batch_size]
        lists = answer(batch, cutoffs[-1])
        if lists.items.shape != (len(batch), cutoffs[-1]):
            raise DataError(f"the answer to {len(batch)} turns has shape {lists.items.shape}; allowed: [{len(batch)}, {cutoffs[-1]}]")
        parts.append(lists)
    lists = RankedLists.joined(parts)
    found = evaluate_lists(
        lists,
        Histories.from_rows([turn.targets for turn in turns]),
        item_count=item_count,
        ks=cutoffs,
        popularity=popularity,
        categories=categories,
        histories=Histories.from_rows([turn.mentioned for turn in turns]),
    )
    protocol = identified({"name": "conversation-turns", "version": 1})
    figures = found.figures | _by_number(turns, found.per_case[f"Recall@{cutoffs[-1]}"], cutoffs[-1])
    return replace(found, split=split, protocol=protocol, seconds=perf_counter() - started, figures=figures)


def _by_number(turns: Sequence[Turn], recall: np.ndarray, k: int, smallest: int = 20) -> dict[str, float]:
    numbers = np.array([turn.number for turn in turns])
    known = ~np.isnan(recall)
    counted = [number for number in np.unique(numbers) if (known & (numbers == number)).sum() >= smallest]
    return {f"Recall@{k} turn {number}": float(recall[known & (numbers == number)].mean()) for number in counted}
