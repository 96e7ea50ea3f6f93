"""Several generated texts per row → one ranking: each text searches (BM25), and the texts take turns, as in CALRec."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from recsmith.errors import UserError
from recsmith.protocols import RankedLists

SearchScores = Callable[[Sequence[str]], np.ndarray]
"""Texts → scores of all items, float32 `[text, item]`, 0 for items that have no word in common with the text."""


def rank_by_search(
    texts: Sequence[Sequence[str]], search: SearchScores, k: int, *, likelihoods: Sequence[Sequence[float]] | None = None
) -> RankedLists:
    """The k first items of each row, found by its generated texts in turns (Li et al., 2024: CALRec: contrastive alignment of generative
    LLMs for sequential recommendation).

    A row's texts, each once, come in order of their likelihood (as given without one). Each in its turn adds the best item of its own that
    the list does not hold; items that its search scores 0 are never added. Scores fall by one from place to place. Deviations: equal
    turns in the place of the paper's rule that lets near-verbatim matches come first.
    """
    if likelihoods is not None and [len(row) for row in likelihoods] != [len(row) for row in texts]:
        raise UserError("likelihoods and texts differ in number; give one likelihood per text")
    answer = RankedLists(np.full((len(texts), k), -1, dtype=np.int64), np.full((len(texts), k), -np.inf, dtype=np.float32))
    for row, entries in enumerate(texts):
        ordered = _in_order(entries, None if likelihoods is None else likelihoods[row])
        found = _take_turns(search(ordered), k) if ordered else []
        answer.items[row, : len(found)] = found
        answer.scores[row, : len(found)] = -np.arange(len(found))
    return answer


def _in_order(texts: Sequence[str], likelihoods: Sequence[float] | None) -> list[str]:
    order = range(len(texts)) if likelihoods is None else np.argsort(-np.asarray(likelihoods), kind="stable").tolist()
    return list(dict.fromkeys(texts[place] for place in order if texts[place].strip()))


def _take_turns(scores: np.ndarray, k: int) -> list[int]:
    queues = [iter([item for item in np.argsort(-row, kind="stable")[: 2 * k + len(scores) * k] if row[item] > 0]) for row in scores]
    found: dict[int, None] = {}
    while queues and len(found) < k:
        for queue in list(queues):
            item = next((int(item) for item in queue if int(item) not in found), None)
            if item is None:
                queues.remove(queue)
            elif len(found) < k:
                found[item] = None
    return list(found)
