"""Is the cited evidence the reason? Take it away and see whether the answer changes, and more than when other evidence goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recsmith.errors import DataError
from recsmith.evaluation.as_json import json_ready
from recsmith.evaluation.text.rouge import rouge
from recsmith.seeding import generator

Generate = Callable[[list[str]], str]
"""Pieces of evidence → an answer."""
Change = Callable[[str, str], float]
"""How different two answers are, 0 … 1."""


@dataclass(frozen=True)
class Cited:
    """One question: its evidence, and what the answer says it rests on."""

    evidence: tuple[str, ...]
    cited: tuple[int, ...]
    """Places in `evidence`, from 0."""
    generate: Generate = field(compare=False)


@dataclass(frozen=True)
class Faithfulness:
    """Means over the questions, 0 … 1 (after ERASER: DeYoung et al. 2020, with answers in place of class probabilities)."""

    comprehensiveness: float
    """Change when the cited evidence is taken away; high = it mattered."""
    sufficiency: float
    """Change when nothing but the cited evidence stays; low = it was enough."""
    control: float
    """Change when as much other evidence, drawn at random, is taken away; nan where all is cited."""
    questions: int

    @property
    def advantage(self) -> float:
        """What the cited evidence matters more than other evidence; about 0 = the citation is decoration."""
        return self.comprehensiveness - self.control

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {**json_ready(self), "advantage": self.advantage}


def word_change(first: str, other: str) -> float:
    """1 - ROUGE-L of two answers; 0 for equal texts, also without words."""
    return 0.0 if first == other else 1.0 - float(rouge([other], [first])["ROUGE-L"][0])


def faithfulness(questions: Sequence[Cited], *, change: Change = word_change, seed: int = 0) -> Faithfulness:
    """Ask again without the cited evidence, with it alone, and without as much other evidence.

    The generator must be deterministic (temperature 0), or its noise counts as change. Raises `DataError` for no questions, an answer
    that cites nothing, or a citation that is not there.
    """
    if not questions:
        raise DataError("there are no answers with citations, so nothing can be measured; give at least one")
    random = generator(seed, "faithfulness")
    rows = np.array([_changes(question, change, random) for question in questions])
    control = rows[:, 2][~np.isnan(rows[:, 2])]
    return Faithfulness(
        float(rows[:, 0].mean()), float(rows[:, 1].mean()), float(control.mean()) if len(control) else float("nan"), len(rows)
    )


def _changes(question: Cited, change: Change, random: np.random.Generator) -> tuple[float, float, float]:
    places, cited = range(len(question.evidence)), set(question.cited)
    if not cited or not cited <= set(places):
        raise DataError(
            f"an answer cites {sorted(cited)} of {len(question.evidence)} pieces of evidence; cite at least one, counted from 0"
        )
    answer = question.generate(list(question.evidence))
    others = [place for place in places if place not in cited]

    def without(gone: set[int]) -> float:
        return change(answer, question.generate([question.evidence[place] for place in places if place not in gone]))

    dropped = set(random.permutation(others)[: len(cited)].tolist())
    return without(cited), without(set(others)), without(dropped) if others else float("nan")
