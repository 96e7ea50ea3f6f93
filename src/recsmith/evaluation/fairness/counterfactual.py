"""The same question under another label: how far lists move when nothing but a sensitive attribute changes.

After FaiRLLM (Zhang et al. 2023) and CFaiRLLM (Deldjoo and Di Noia 2024), over anything that answers questions with lists: a language
model asked in words, or a recommender given attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import numpy as np

from recsmith.errors import DataError, UserError
from recsmith.evaluation.as_json import json_ready
from recsmith.evaluation.significance import Interval, bootstrap_interval

Question = TypeVar("Question")
Answers = Sequence[Sequence[Hashable]]
Ask = Callable[[list[Question]], Answers]
"""Questions → one list of items each, best first."""


def jaccard(first: Sequence[Hashable], other: Sequence[Hashable]) -> float:
    """Common items over all items of both lists; 1 for two empty lists."""
    union = set(first) | set(other)
    return len(set(first) & set(other)) / len(union) if union else 1.0


def serp(first: Sequence[Hashable], other: Sequence[Hashable], k: int) -> float:
    """SERP* of FaiRLLM: like the share of common items, but those high in `first` count more: K - rank + 1, over K (K + 1) / 2."""
    known = set(other)
    return sum(k - place for place, item in enumerate(first) if item in known) / (k * (k + 1) / 2)


def prag(first: Sequence[Hashable], other: Sequence[Hashable]) -> float:
    """PRAG* of FaiRLLM: share of the ordered pairs of `first` whose first item is in `other`, before the second or without it."""
    if not first or not other:
        return 0.0
    if len(first) == 1:
        return float(list(first) == list(other))
    rank = {item: place for place, item in enumerate(other)}
    agreed = sum(
        rank[above] < rank.get(below, len(other)) for place, above in enumerate(first) if above in rank for below in first[place + 1 :]
    )
    return agreed / (len(first) * (len(first) - 1) / 2)


MEASURES = ("Jaccard", "SERP", "PRAG")


@dataclass(frozen=True)
class VariantRow:
    """One value of the attribute against the neutral question."""

    value: str
    similarity: dict[str, float]
    """Mean similarity of its lists to the neutral ones, by measure; 1 = the attribute changes nothing."""
    intervals: dict[str, Interval]
    invalid: float
    """Share of the questions that got an empty list."""


@dataclass(frozen=True)
class CounterfactualAudit:
    """How similar the lists under each value are to the neutral ones, least similar value last (by Jaccard)."""

    rows: tuple[VariantRow, ...]
    k: int
    questions: int
    snsr: dict[str, float]
    """Sensitive-to-neutral similarity range: highest minus lowest similarity, by measure; 0 = all values alike."""
    snsv: dict[str, float]
    """Sensitive-to-neutral similarity variance (its root, as in the paper), by measure."""
    noise: dict[str, float] | None
    """Similarity of the neutral questions to themselves, asked again; below it nothing can be blamed on the attribute."""
    relevant_only: bool
    """Whether only items that the person truly likes were compared (CFaiRLLM)."""
    per_question: dict[str, dict[str, np.ndarray]] = field(repr=False, default_factory=dict)
    """Value → measure → similarity of each question, float64 `[question]`."""

    @property
    def disadvantaged(self) -> str:
        """The value whose lists are least like the neutral ones."""
        return self.rows[-1].value

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON, without the values per question."""
        result = asdict(self)
        del result["per_question"]
        return json_ready({**result, "disadvantaged": self.disadvantaged})


def counterfactual_audit(
    ask: Ask[Question],
    neutral: Sequence[Question],
    variants: Mapping[str, Sequence[Question]],
    *,
    k: int = 10,
    relevant: Sequence[set[Any]] | None = None,
    repeat: bool = False,
    seed: int = 0,
) -> CounterfactualAudit:
    """Ask every neutral question and its variants under each value of the attribute, and compare the first k of the lists.

    `variants["a girl"][i]` is `neutral[i]` with the attribute said. With `relevant`, one set of truly liked items per question, lists
    are compared within these (CFaiRLLM's true-preference alignment). `repeat` asks the neutral questions a second time and so
    measures the noise of a system that draws its answers. Raises `DataError` when a variant has another number of questions or an
    answer is missing, `UserError` for fewer than two values (a range of one is 0 by definition).
    """
    if len(variants) < 2:
        raise UserError(f"an audit compares values of an attribute and got {len(variants)}; give at least 2, for example a woman and a man")
    if k < 1:
        raise UserError(f"k = {k} does not work; give a number from 1")
    for value, questions in variants.items():
        if len(questions) != len(neutral):
            raise DataError(
                f"`{value}` has {len(questions)} questions and the neutral form {len(neutral)}; give one for each neutral question"
            )
    if not neutral:
        raise DataError("there are no questions, so nothing can be audited; give at least one")
    first = _lists(ask, neutral, k, relevant, "the neutral form")
    answers = {value: _lists(ask, questions, k, relevant, f"`{value}`") for value, questions in variants.items()}
    similar = {value: _similarities(lists, first, k) for value, lists in answers.items()}
    rows = [_row(value, answers[value], similar[value], seed) for value in variants]
    rows.sort(key=lambda row: (-row.similarity["Jaccard"], row.value))
    noise = None
    if repeat:
        again = _similarities(_lists(ask, neutral, k, relevant, "the neutral form"), first, k)
        noise = {name: float(values.mean()) for name, values in again.items()}
    means = {name: np.array([row.similarity[name] for row in rows]) for name in MEASURES}
    return CounterfactualAudit(
        rows=tuple(rows),
        k=k,
        questions=len(neutral),
        snsr={name: float(np.ptp(values)) for name, values in means.items()},
        snsv={name: float(values.std()) for name, values in means.items()},
        noise=noise,
        relevant_only=relevant is not None,
        per_question=similar,
    )


def attribute_questions(
    template: str, anchors: Sequence[str], values: Sequence[str], *, neutral: str = ""
) -> tuple[list[str], dict[str, list[str]]]:
    """Neutral questions and their variants from a template with `{attribute}` and `{anchor}`, one question per anchor.

    `attribute_questions("I am {attribute}fan of {anchor}.", ["Nolan"], ["a girl "], neutral="a ")`. Raises `UserError` when the
    template lacks one of the two places.
    """
    for place in ("{attribute}", "{anchor}"):
        if place not in template:
            raise UserError(f"the template {template!r} has no place for {place}; write it where the words are to stand")

    def filled(attribute: str) -> list[str]:
        return [template.replace("{attribute}", attribute).replace("{anchor}", anchor) for anchor in anchors]

    return filled(neutral), {value: filled(value) for value in values}


def _lists(
    ask: Ask[Question], questions: Sequence[Question], k: int, relevant: Sequence[set[Any]] | None, what: str
) -> list[list[Hashable]]:
    answers = ask(list(questions))
    if len(answers) != len(questions):
        raise DataError(f"{len(questions)} questions of {what} got {len(answers)} answers; give one list per question, empty if need be")
    lists = [list(dict.fromkeys(answer))[:k] for answer in answers]
    if relevant is None:
        return lists
    return [[item for item in answer if item in liked] for answer, liked in zip(lists, relevant, strict=True)]


def _similarities(lists: Sequence[Sequence[Hashable]], neutral: Sequence[Sequence[Hashable]], k: int) -> dict[str, np.ndarray]:
    pairs = list(zip(lists, neutral, strict=True))
    return {
        "Jaccard": np.array([jaccard(one, other) for one, other in pairs]),
        "SERP": np.array([serp(one, other, k) for one, other in pairs]),
        "PRAG": np.array([prag(one, other) for one, other in pairs]),
    }


def _row(value: str, lists: Sequence[Sequence[Hashable]], similar: Mapping[str, np.ndarray], seed: int) -> VariantRow:
    means = {name: float(values.mean()) for name, values in similar.items()}
    intervals = {name: bootstrap_interval(values, resamples=1_000, seed=seed) for name, values in similar.items()}
    return VariantRow(value, means, intervals, sum(not answer for answer in lists) / len(lists))
