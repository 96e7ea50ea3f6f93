"""Five tasks by prompt: rating, next item, direct recommendation, explanation, review summary (Liu et al., 2023).

Direct recommendation is `rankers.list_wise`; the other four are functions here. Every answer names the backend that spoke. Source: Liu,
Liu, Lv et al., "Is ChatGPT a good recommender? A preliminary study", CIKM workshop 2023 (arXiv:2304.10149). Deviations: wording of our own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recsmith.language.answered import Answered
from recsmith.language.asker import Asker
from recsmith.language.compiler import Value
from recsmith.language.parsing import FormatError, parse_list, parse_number
from recsmith.language.rankers.steps import ask_step
from recsmith.language.template import load_template
from recsmith.protocols import RankedLists

if TYPE_CHECKING:
    from recsmith.decoding.grounding import Grounding

Rated = tuple[str, float]
"""Title and rating."""


@dataclass(frozen=True)
class NamedNext:
    """Items that a language model named in its own words."""

    lists: RankedLists
    """Items of the catalogue that it named, best first, each once."""
    written: list[list[str] | None]
    """Titles as they were written; None for an answer that holds no list."""
    backend: str
    """Which language model spoke."""
    figures: dict[str, Any]
    """Of all titles written: `hallucination`, `duplicate`, and the share that each matcher found; of all answers: `format error`."""


def predict_ratings(
    rated: Sequence[Sequence[Rated]], candidates: Sequence[str], asker: Asker, *, low: float = 1, high: float = 5, max_tokens: int = 3000
) -> Answered[float | None]:
    """The rating that each person would give to a candidate, from their earlier ratings, oldest first; None where no answer fits."""
    values: list[dict[str, Value]] = [
        {"rated": [f"{title}: {rating:g}" for title, rating in earlier], "candidate": candidate, "low": low, "high": high}
        for earlier, candidate in zip(rated, candidates, strict=True)
    ]
    found = [_number(answer, low, high) for answer in ask_step(load_template("rate"), values, asker, max_tokens=max_tokens)]
    return Answered.of(found, found.count(None), asker.backend.name)


def name_next(
    histories: Sequence[Sequence[str]],
    asker: Asker,
    grounding: Grounding,
    *,
    count: int = 10,
    requests: Sequence[str] | None = None,
    max_tokens: int = 3000,
) -> NamedNext:
    """What each person is likely to choose next: titles in the model's own words, grounded in a catalogue (`catalogue_grounding`)."""
    values: list[dict[str, Value]] = [
        {"history": list(history), "count": count, "request": request or None}
        for history, request in zip(histories, requests or [""] * len(histories), strict=True)
    ]
    answers = ask_step(load_template("next-item"), values, asker, max_tokens=max_tokens)
    parsed = [parse_list(answer or "", most=count) for answer in answers]
    written = [None if entry.form == "none" else entry.entries for entry in parsed]
    found = grounding.ground_lists(written, count)
    return NamedNext(found.lists, written, asker.backend.name, found.figures)


def explain(histories: Sequence[Sequence[str]], items: Sequence[str], asker: Asker, *, max_tokens: int = 3000) -> Answered[str]:
    """Why each item was recommended, in a sentence or two; "" where there is no answer."""
    values = [{"history": list(history), "item": item} for history, item in zip(histories, items, strict=True)]
    return _said("explain", values, asker, max_tokens)


def summarise_reviews(reviews: Sequence[str], asker: Asker, *, max_tokens: int = 3000) -> Answered[str]:
    """At most ten words for each review; "" where there is no answer."""
    return _said("summarise-review", [{"review": review} for review in reviews], asker, max_tokens)


def _said(template: str, values: Sequence[Mapping[str, Value]], asker: Asker, max_tokens: int) -> Answered[str]:
    answers = ask_step(load_template(template), values, asker, max_tokens=max_tokens)
    found = [" ".join((answer or "").split()) for answer in answers]
    return Answered.of(found, found.count(""), asker.backend.name)


def _number(answer: str | None, low: float, high: float) -> float | None:
    try:
        return None if answer is None else parse_number(answer, low=low, high=high)
    except FormatError:
        return None
