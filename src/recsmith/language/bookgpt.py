"""BookGPT: three tasks about books by prompt: what readers in general think, what one reader thinks, and summaries (Li et al., 2023).

Source: Li, Chen, Zhang & Liang, "BookGPT: a general framework for book recommendation empowered by large language model", 2023
(arXiv:2305.15673). Each task works without examples (zero-shot) and with solved ones (few-shot). The recipe `bookgpt` recommends by the
second task. Every answer names the backend that spoke. Deviations: wording of our own; any catalogue instead of Douban Books.
"""

from __future__ import annotations

from collections.abc import Sequence

from recsmith.errors import UserError
from recsmith.language.answered import Answered
from recsmith.language.asker import Asker
from recsmith.language.compiler import Value
from recsmith.language.parsing import FormatError, parse_number
from recsmith.language.rankers.steps import ask_step
from recsmith.language.template import load_template

Solved = tuple[str, float | str]
"""A book and its rating, or its summary."""


def rate_books(
    books: Sequence[str], asker: Asker, *, examples: Sequence[Solved] = (), low: float = 1, high: float = 10, max_tokens: int = 3000
) -> Answered[float | None]:
    """The rating that readers in general give to each book, from what is known of it (title, author, …); None where no answer fits."""
    shown = [f"{book}: {rating:g}" for book, rating in examples if isinstance(rating, float | int)]
    if len(shown) < len(examples):
        raise UserError("an example of a rating has no number; give pairs of a book and its rating")
    values: list[dict[str, Value]] = [{"examples": shown or None, "book": book, "low": low, "high": high} for book in books]
    return _numbers("book-rating", values, asker, low=low, high=high, max_tokens=max_tokens)


def rate_for_readers(
    histories: Sequence[Sequence[Solved]], books: Sequence[str], asker: Asker, *, low: float = 1, high: float = 5, max_tokens: int = 3000
) -> Answered[float | None]:
    """The rating that each reader gives to the book beside them, from the books that they have rated, oldest first."""
    values: list[dict[str, Value]] = [
        {"history": [f"{title}: {rating}" for title, rating in history], "candidate": book, "low": low, "high": high}
        for history, book in zip(histories, books, strict=True)
    ]
    return _numbers("book-user-rating", values, asker, low=low, high=high, max_tokens=max_tokens)


def summarise_books(
    books: Sequence[str], asker: Asker, *, examples: Sequence[Solved] = (), words: int = 80, max_tokens: int = 3000
) -> Answered[str]:
    """A summary of each book, of at most `words` words (what is longer is cut); "" where there is no answer."""
    shown = [f"{book} → {summary}" for book, summary in examples]
    values: list[dict[str, Value]] = [{"examples": shown or None, "book": book, "words": words} for book in books]
    answers = ask_step(load_template("book-summary"), values, asker, max_tokens=max_tokens)
    found = [" ".join((answer or "").split()[:words]) for answer in answers]
    return Answered.of(found, found.count(""), asker.backend.name)


def _numbers(
    template: str, values: Sequence[dict[str, Value]], asker: Asker, *, low: float, high: float, max_tokens: int
) -> Answered[float | None]:
    answers = ask_step(load_template(template), values, asker, max_tokens=max_tokens)
    found = [_number(answer, low, high) for answer in answers]
    return Answered.of(found, found.count(None), asker.backend.name)


def _number(answer: str | None, low: float, high: float) -> float | None:
    try:
        return None if answer is None else parse_number(answer, low=low, high=high)
    except FormatError:
        return None
