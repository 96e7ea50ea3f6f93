"""Five tasks by prompt: rating, next item, direct recommendation, explanation, review summary (Liu et al., 2023).

Direct recommendation is `rankers.list_wise`; the other four are functions here. Source: Liu, Liu, Lv et al., "Is ChatGPT a good
recommender? A preliminary study", CIKM workshop 2023 (arXiv:2304.10149). Deviations: wording of our own.
"""

from __future__ import annotations

from collections.abc import Sequence

from recsmith.language.asker import Asker
from recsmith.language.compiler import Value, compile_prompt
from recsmith.language.parsing import FormatError, parse_list, parse_number
from recsmith.language.template import load_template

Rated = tuple[str, float]
"""Title and rating."""


def predict_ratings(
    rated: Sequence[Sequence[Rated]], candidates: Sequence[str], asker: Asker, *, low: float = 1, high: float = 5, max_tokens: int = 3000
) -> list[float | None]:
    """The rating that each person would give to a candidate, from their earlier ratings, oldest first; None where no answer fits."""
    template = load_template("rate")
    prompts = [
        compile_prompt(
            template,
            {"rated": [f"{title}: {rating:g}" for title, rating in earlier], "candidate": candidate, "low": low, "high": high},
            max_tokens=max_tokens,
            count=asker.count_tokens,
        ).prompt
        for earlier, candidate in zip(rated, candidates, strict=True)
    ]
    return [_number(answer, low, high) for answer in asker.ask(prompts)]


def name_next(
    histories: Sequence[Sequence[str]], asker: Asker, *, count: int = 10, requests: Sequence[str] | None = None, max_tokens: int = 3000
) -> list[list[str] | None]:
    """Titles that each person is likely to choose next, best first, to be grounded; None for an answer that holds no list."""
    template = load_template("next-item")
    values: list[dict[str, Value]] = [
        {"history": list(history), "count": count, "request": request or None}
        for history, request in zip(histories, requests or [""] * len(histories), strict=True)
    ]
    prompts = [compile_prompt(template, entry, max_tokens=max_tokens, count=asker.count_tokens).prompt for entry in values]
    parsed = [parse_list(answer or "", most=count) for answer in asker.ask(prompts)]
    return [None if entry.form == "none" else entry.entries for entry in parsed]


def explain(histories: Sequence[Sequence[str]], items: Sequence[str], asker: Asker, *, max_tokens: int = 3000) -> list[str]:
    """Why each item was recommended, in a sentence or two; "" where there is no answer."""
    template = load_template("explain")
    prompts = [
        compile_prompt(template, {"history": list(history), "item": item}, max_tokens=max_tokens, count=asker.count_tokens).prompt
        for history, item in zip(histories, items, strict=True)
    ]
    return [" ".join((answer or "").split()) for answer in asker.ask(prompts)]


def summarise_reviews(reviews: Sequence[str], asker: Asker, *, max_tokens: int = 3000) -> list[str]:
    """At most ten words for each review; "" where there is no answer."""
    template = load_template("summarise-review")
    prompts = [compile_prompt(template, {"review": review}, max_tokens=max_tokens, count=asker.count_tokens).prompt for review in reviews]
    return [" ".join((answer or "").split()) for answer in asker.ask(prompts)]


def _number(answer: str | None, low: float, high: float) -> float | None:
    try:
        return None if answer is None else parse_number(answer, low=low, high=high)
    except FormatError:
        return None
