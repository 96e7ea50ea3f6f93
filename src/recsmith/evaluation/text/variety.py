"""How varied generated texts are: distinct n-grams and unique sentences."""

from __future__ import annotations

from collections.abc import Sequence

from recsmith.errors import DataError, UserError
from recsmith.evaluation.text.words import words_of


def distinct(texts: Sequence[str], n: int = 1) -> float:
    """Distinct n-grams over all n-grams of all texts together (Li et al. 2016), 0 … 1; 0 where no text has n words.

    It falls with the amount of text, so compare systems on the same number of texts of like length.
    """
    if n < 1:
        raise UserError(f"n = {n} does not work; give a length from 1, usually 1 or 2")
    _require(texts)
    grams = [gram for text in texts for gram in zip(*(words_of(text)[start:] for start in range(n)), strict=False)]
    return len(set(grams)) / len(grams) if grams else 0.0


def unique_sentence_ratio(texts: Sequence[str]) -> float:
    """USR: distinct texts over texts (Li et al. 2020), 0 … 1; texts count as equal when their words are."""
    _require(texts)
    return len({tuple(words_of(text)) for text in texts}) / len(texts)


def _require(texts: Sequence[str]) -> None:
    if not texts:
        raise DataError("there are no texts, so nothing can be measured; give at least one")
