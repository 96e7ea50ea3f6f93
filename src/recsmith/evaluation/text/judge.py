"""A judge, such as a language model, over pairs of texts: asked in both orders, and held against people and other judges."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from recsmith.errors import DataError
from recsmith.evaluation.as_json import json_ready
from recsmith.evaluation.significance import permutation_test

Choice = Literal["first", "second", "tie"]
JudgePair = Callable[[str, str, str], Choice]
"""Question, one text, another text → which is better; must not know which system wrote which."""


@dataclass(frozen=True)
class JudgedPairs:
    """System A against system B."""

    pairs: int
    wins: float
    """Share of the pairs that A won in both orders, or in one with a tie in the other."""
    losses: float
    ties: float
    """Share of the rest: ties, and pairs whose winner changed with the order."""
    swapped: float
    """Share of the pairs in which the judge chose the same *place* both times: position bias."""
    first_place: float
    """Share of the decided votes that went to the text in first place; .5 without position bias."""
    p_value: float
    """Sign-flip test that wins and losses are equally likely."""
    verdicts: tuple[Literal["a", "b", "tie"], ...]

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON, without the single verdicts."""
        result = asdict(self)
        del result["verdicts"]
        return json_ready(result)


def judge_pairs(
    judge: JudgePair, questions: Sequence[str], texts_a: Sequence[str], texts_b: Sequence[str], *, seed: int = 0
) -> JudgedPairs:
    """Ask about every pair twice with the order swapped, so that a preference for a place cannot pass for one for a system.

    Raises `DataError` when the lengths differ, for no pairs, and when the judge answers something else.
    """
    if not len(questions) == len(texts_a) == len(texts_b) or not questions:
        raise DataError(f"{len(questions)} questions, {len(texts_a)} and {len(texts_b)} texts do not fit; give one of each, at least one")
    verdicts: list[Literal["a", "b", "tie"]] = []
    votes, places = [], []
    for question, a, b in zip(questions, texts_a, texts_b, strict=True):
        straight, swapped = _asked(judge, question, a, b), _asked(judge, question, b, a)
        score = straight - swapped  # each is 1 for the first place, -1 for the second
        verdicts.append("a" if score > 0 else "b" if score < 0 else "tie")
        votes += [straight, swapped]
        places.append(straight == swapped != 0)
    decided = [vote for vote in votes if vote]
    share = {kind: verdicts.count(kind) / len(verdicts) for kind in ("a", "b", "tie")}
    signs = np.array([{"a": 1.0, "b": -1.0, "tie": 0.0}[verdict] for verdict in verdicts])
    return JudgedPairs(
        pairs=len(verdicts),
        wins=share["a"],
        losses=share["b"],
        ties=share["tie"],
        swapped=float(np.mean(places)),
        first_place=float(np.mean([vote > 0 for vote in decided])) if decided else float("nan"),
        p_value=permutation_test(signs, seed=seed),
        verdicts=tuple(verdicts),
    )


def _asked(judge: JudgePair, question: str, first: str, second: str) -> int:
    choice = judge(question, first, second)
    if choice not in ("first", "second", "tie"):
        raise DataError(f"the judge answered {choice!r}; allowed: 'first', 'second', 'tie'")
    return {"first": 1, "second": -1, "tie": 0}[choice]


@dataclass(frozen=True)
class Agreement:
    """How far raters agree on labels."""

    items: int
    """Items with at least two labels."""
    share: float
    """Of the pairs of labels of one item, those that are equal."""
    kappa: float
    """Cohen's (1960), for two raters who both labelled everything; else nan."""
    alpha: float
    """Krippendorff's (2004) for nominal labels, any number of raters, gaps allowed; nan when all labels are one."""

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return json_ready(self)


def agreement(*raters: Sequence[Hashable | None]) -> Agreement:
    """Agreement of two or more raters (people, judges) over the same items; None is a missing label.

    Raises `DataError` for one rater, different lengths, or no item with two labels.
    """
    if len(raters) < 2 or len({len(rater) for rater in raters}) > 1:
        raise DataError(f"agreement needs two raters or more over the same items and got lengths {[len(rater) for rater in raters]}")
    rows = [[label for label in labels if label is not None] for labels in zip(*raters, strict=True)]
    rows = [row for row in rows if len(row) > 1]
    if not rows:
        raise DataError("no item has two labels, so no agreement can be measured; let raters label the same items")
    names = sorted({label for row in rows for label in row}, key=str)
    counts = np.array([[row.count(name) for name in names] for row in rows], dtype=np.float64)
    total = counts.sum(axis=1)
    equal = (counts * (counts - 1)).sum(axis=1)
    share = float(equal.sum() / (total * (total - 1)).sum())
    marginal = counts.sum(axis=0)
    size = marginal.sum()
    expected = float((size**2 - (marginal**2).sum()) / (size - 1))
    alpha = 1 - _disagreement(counts) / expected if expected > 0 else float("nan")
    complete = len(raters) == 2 and all(label is not None for rater in raters for label in rater)
    return Agreement(len(rows), share, _kappa(*raters) if complete else float("nan"), alpha)


def _disagreement(counts: np.ndarray) -> float:
    """Krippendorff's observed disagreement: unequal ordered pairs inside items, each item's over its labels less one."""
    total = counts.sum(axis=1)
    unequal = total**2 - (counts**2).sum(axis=1)
    return float((unequal / (total - 1)).sum())


def _kappa(first: Sequence[Hashable], other: Sequence[Hashable]) -> float:
    names = sorted({*first, *other}, key=str)
    shares = np.array([[list(rater).count(name) / len(rater) for name in names] for rater in (first, other)])
    by_chance = float(shares[0] @ shares[1])
    equal = sum(one == two for one, two in zip(first, other, strict=True)) / len(first)
    return (equal - by_chance) / (1 - by_chance) if by_chance < 1 else float("nan")
