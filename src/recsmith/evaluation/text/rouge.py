"""ROUGE-1, ROUGE-2 and ROUGE-L (Lin 2004), without stemming, as the `rouge-score` package computes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from recsmith.evaluation.text.words import check_pairs, plain_words_of

KINDS = ("ROUGE-1", "ROUGE-2", "ROUGE-L")


def rouge(candidates: Sequence[str], references: Sequence[str]) -> dict[str, np.ndarray]:
    """F-measure of each text against its reference, 0 … 1, float64 `[text]` under the names of `KINDS`.

    Precision and recall stand under `ROUGE-1 precision`, `ROUGE-1 recall`, …. A text or reference without words
    gives 0; so does every text in a script other than Latin, as in that package.
    """
    check_pairs(candidates, references)
    rows = [_scores(plain_words_of(one), plain_words_of(other)) for one, other in zip(candidates, references, strict=True)]
    table = np.array(rows).reshape(len(rows), len(KINDS), 3)
    result = {}
    for place, kind in enumerate(KINDS):
        result[kind] = table[:, place, 2]
        result[f"{kind} precision"], result[f"{kind} recall"] = table[:, place, 0], table[:, place, 1]
    return result


def _scores(candidate: list[str], reference: list[str]) -> list[tuple[float, float, float]]:
    rows = []
    for size in (1, 2):
        ours, theirs = _grams(candidate, size), _grams(reference, size)
        rows.append(_measure((ours & theirs).total(), ours.total(), theirs.total()))
    return [*rows, _measure(longest_common_subsequence(candidate, reference), len(candidate), len(reference))]


def _grams(words: list[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[start:] for start in range(size)), strict=False))


def _measure(common: int, ours: int, theirs: int) -> tuple[float, float, float]:
    if not common:
        return 0.0, 0.0, 0.0
    precision, recall = common / ours, common / theirs
    return precision, recall, 2 * precision * recall / (precision + recall)


def longest_common_subsequence(first: Sequence[str], other: Sequence[str]) -> int:
    """Length, by bit-parallel dynamic programming: one big-integer step per word of `other` (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    full = (1 << len(first)) - 1
    state = full
    for word in other:
        matches = state & places.get(word, 0)
        state = (state + matches | state - matches) & full
    return len(first) - state.bit_count()
