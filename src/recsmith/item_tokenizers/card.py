"""The tokenizer card: what item codes are worth, measured against the same codes dealt to the items at random."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from recsmith.data import Histories, ItemCodes
from recsmith.item_tokenizers.collisions import prefix_groups
from recsmith.item_tokenizers.figures import code_figures
from recsmith.seeding import generator

SHUFFLES = 5
"""Random deals of the codes that every share is compared with."""
NEIGHBOURS = 10
"""Nearest items by vector that neighbour overlap looks at."""
SAMPLE = 2000
"""Items whose neighbours are looked up; all when there are fewer."""

_Shares = Callable[[np.ndarray], float]


def tokenizer_card(
    codes: ItemCodes,
    *,
    vectors: np.ndarray | None = None,
    categories: Histories | None = None,
    histories: Histories | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Figures of codes whose last level is the collision level; those without their input are None.

    * `codes`: `code_figures`.
    * `prefix_purity` against `categories` (row = item): share of items in company that have the commonest category of their prefix.
      Items without category or alone in their prefix do not count; `items` says per level how many do.
    * `neighbour_overlap` with `vectors` `[item, dim]`: share of each item's ten nearest (cosine) that share its prefix.
    * `co_occurrence`: share of consecutive different items of `histories` that share a prefix.

    Each is `{"levels": [share per prefix length], "random": [the same, codes dealt at random], "lift": [ratio, None over zero]}`;
    the random deal keeps the sizes of prefixes, and so what they alone bring.
    """
    groups = [prefix_groups(codes.table[:, : level + 1]) for level in range(codes.levels - 1)]
    deals = [generator(seed, "tokenizer card", deal).permutation(len(codes)) for deal in range(SHUFFLES)]
    card: dict[str, Any] = {"codes": code_figures(codes), "prefix_purity": None, "neighbour_overlap": None, "co_occurrence": None}
    if categories is not None:
        card["prefix_purity"] = _compared(lambda group: prefix_purity(group, categories)[0], groups, deals)
        card["prefix_purity"]["items"] = [prefix_purity(group, categories)[1] for group in groups]
    if vectors is not None and len(codes) > 1:
        pairs = neighbour_pairs(vectors, seed=seed)
        card["neighbour_overlap"] = _compared(lambda group: _equal(group, pairs), groups, deals)
    if histories is not None:
        pairs_in_time = consecutive_pairs(histories)
        card["co_occurrence"] = _compared(lambda group: _equal(group, pairs_in_time), groups, deals)
        card["co_occurrence"]["pairs"] = pairs_in_time.shape[1]
    return card


def prefix_purity(group: np.ndarray, categories: Histories) -> tuple[float, int]:
    """Share of items that have the commonest category of their `group` (int64 `[item]`), and how many items counted.

    Counted are items with a category whose group holds another such item; without any the share is 0.
    """
    has = categories.lengths > 0
    company = np.bincount(group[has], minlength=int(group.max(initial=0)) + 1)
    counted = has & (company[group] > 1)
    if not counted.any():
        return 0.0, 0
    events = counted[categories.rows]
    item, category = categories.rows[events], categories.values[events]
    width = int(category.max()) + 1
    key = np.unique(np.column_stack([item, group[item] * width + category]), axis=0)  # a category twice on an item counts once
    _, counts = np.unique(key[:, 1], return_counts=True)
    best = np.zeros(len(company), dtype=np.int64)
    np.maximum.at(best, np.unique(key[:, 1]) // width, counts)
    return float(best.sum() / counted.sum()), int(counted.sum())


def neighbour_pairs(vectors: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Items and their nearest by cosine, int64 `[2, pair]`, for a sample of the items of `vectors` `[item, dim]`."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    count = min(NEIGHBOURS, len(unit) - 1)
    sample = np.sort(generator(seed, "neighbour sample").permutation(len(unit))[:SAMPLE])
    found = []
    for start in range(0, len(sample), 256):
        rows = sample[start : start + 256]
        similarity = unit[rows] @ unit.T
        similarity[np.arange(len(rows)), rows] = -np.inf
        found.append(np.argpartition(-similarity, count - 1, axis=1)[:, :count])
    return np.stack([np.repeat(sample, count), np.concatenate(found).reshape(-1)])


def consecutive_pairs(histories: Histories) -> np.ndarray:
    """Items that follow each other in a history and differ, int64 `[2, pair]`."""
    first, second = histories.values[:-1], histories.values[1:]
    kept = (np.diff(histories.rows) == 0) & (first != second)
    return np.stack([first[kept], second[kept]])


def _equal(group: np.ndarray, pairs: np.ndarray) -> float:
    return float((group[pairs[0]] == group[pairs[1]]).mean()) if pairs.shape[1] else 0.0


def _compared(share: _Shares, groups: list[np.ndarray], deals: list[np.ndarray]) -> dict[str, Any]:
    levels = [share(group) for group in groups]
    random = [float(np.mean([share(group[deal]) for deal in deals])) for group in groups]
    return {
        "levels": levels,
        "random": random,
        "lift": [real / dealt if dealt else None for real, dealt in zip(levels, random, strict=True)],
    }
