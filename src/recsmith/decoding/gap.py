"""The beam gap: what a beam search misses of the lists that scoring the whole catalogue would give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from recsmith.data import Histories
from recsmith.decoding.beam import beam_search, score_all, take_rows
from recsmith.decoding.limits import NO_LIMITS
from recsmith.decoding.ranking import top_k
from recsmith.decoding.speculation import compare_lists
from recsmith.decoding.trie import CodeTrie
from recsmith.protocols import CodeModel, HistoryBatch, Limits, RankedLists

_CELLS = 1 << 24
"""Logits that are held at a time: 64 MB, and a few times that in between."""


@torch.inference_mode()
def beam_gap(
    model: CodeModel,
    batch: HistoryBatch,
    trie: CodeTrie,
    k: int,
    *,
    beams: int,
    limits: Limits = NO_LIMITS,
    targets: Histories | None = None,
) -> dict[str, float]:
    """Beam search against exact scores of all items, on the same rows and limits; means over rows.

    `Overlap@k` is the share of the exact list that the beams found, `Identical@k` the share of rows whose lists are equal in order, and
    `LostLogProbability@k` how much less probable an item of the beams' list is on average. With `targets` (what was held out, one row
    per row): `Recall@k` and `ExactRecall@k` of both lists and `RecallGap@k` = exact - beam, which is negative where the model ranks the
    target lower than its beams do. Takes memory for the whole trie of at least one row: see `score_all`.
    """
    found = beam_search(model, batch, trie, k, beams=beams, limits=limits)
    exact = _exact_lists(model, batch, trie, k, limits)
    there = (found.items >= 0) & (exact.items >= 0)
    lost = np.where(there, exact.scores, 0.0) - np.where(there, found.scores, 0.0)
    figures = {
        f"Overlap@{k}": compare_lists(found, exact),
        f"Identical@{k}": float((found.items == exact.items).all(axis=1).mean()) if len(batch) else 1.0,
        f"LostLogProbability@{k}": float(lost.sum() / max(int(there.sum()), 1)),
    }
    if targets is None:
        return figures
    recalls = [_recall(lists.items, targets) for lists in (found, exact)]
    return {**figures, f"Recall@{k}": recalls[0], f"ExactRecall@{k}": recalls[1], f"RecallGap@{k}": recalls[1] - recalls[0]}


def _exact_lists(model: CodeModel, batch: HistoryBatch, trie: CodeTrie, k: int, limits: Limits) -> RankedLists:
    """The lists of the whole catalogue, a few rows at a time."""
    widest = max(trie.nodes(level) * size for level, size in enumerate(trie.sizes))
    size = max(1, _CELLS // widest)
    parts = []
    for start in range(0, len(batch), size):
        rows = np.arange(start, min(start + size, len(batch)))
        own = replace(limits, exclude=None if limits.exclude is None else limits.exclude.take(rows))
        parts.append(top_k(score_all(model, take_rows(batch, rows), trie), k, limits=own))
    return RankedLists.joined(parts, k=k)


def _recall(items: np.ndarray, targets: Histories) -> float:
    """Mean share of a row's targets that its list holds, over rows that have targets."""
    shares = [np.isin(targets.row(row), items[row]).mean() for row in range(len(items)) if targets.lengths[row]]
    return float(np.mean(shares)) if shares else 0.0
