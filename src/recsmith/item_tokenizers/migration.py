"""New codebooks for a catalogue that has moved, under which as many items as possible keep the codes they have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from scipy.optimize import linear_sum_assignment

from recsmith.data import ItemCodes
from recsmith.errors import UserError
from recsmith.protocols import Progress

Start = Literal["old", "fresh"]
"""Where new codebooks begin: at the old ones, or at nothing."""
LARGEST_MATCHING = 4_096
"""Codes of a level up to which the best numbering is found exactly; with more, the largest overlaps are matched first."""


@runtime_checkable
class RenumberableTokenizer(Protocol):
    """An item tokenizer with one codebook per level, whose codes can be numbered anew."""

    def fit(self, vectors: np.ndarray, *, seed: int, progress: Progress | None = None) -> ItemCodes:
        """As for every item tokenizer."""
        ...

    def assign(self, vectors: np.ndarray, *, taken: ItemCodes) -> ItemCodes:
        """As for every item tokenizer."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """As for every item tokenizer."""
        ...

    def refit(self, vectors: np.ndarray) -> None:
        """Move the codebooks to these vectors `[item, dim]` from where they are."""
        ...

    def turn(self, rotation: np.ndarray) -> None:
        """Multiply all vectors to come by `rotation` `[dim, dim]` first."""
        ...

    def renumber(self, orders: Sequence[np.ndarray]) -> None:
        """Code c of level l is `orders[l][c]` from now on."""
        ...

    def errors(self, vectors: np.ndarray, prefixes: np.ndarray) -> np.ndarray:
        """Squared distance between each vector and what learned codes `[item, level]` stand for, float64 `[item]`."""
        ...


@dataclass(frozen=True)
class Migration:
    """Codes of a catalogue under new codebooks."""

    codes: ItemCodes
    kept: np.ndarray
    """Which of the old items have all the codes that they had, bool `[old item]`."""
    figures: dict[str, Any]
    """`kept`, `moved` and `new` (items), `error` and `error_if_none_were_kept` (mean squared distance to what the codes stand for)."""


def migrate_codes(
    tokenizer: RenumberableTokenizer,
    old: ItemCodes,
    vectors: np.ndarray,
    *,
    fit_on: np.ndarray,
    start: Start = "old",
    keep: float = 0.1,
    seed: int = 0,
    progress: Progress | None = None,
) -> Migration:
    """New codebooks from the rows `fit_on` (int64) of `vectors` `[item, dim]`, whose first `len(old)` rows are the items of `old`.

    1. `start="old"`: the fitted `tokenizer` moves its codebooks from where they are. `start="fresh"`: it learns them from nothing, and
       the codes of each level are numbered so that most items find their old number again (a maximum matching by shared items).
    2. An old item keeps its codes, collision code included, where its error under the new codebooks is at most 1 + `keep` times
       that of the codes it would get now. With `keep` = 0 only items that would not move anyway stay.
    3. The others and the new items get codes beside them.

    Level sizes stay what they were, so that a model over the codes keeps its shape. Raises `UserError` when the new codebooks have
    other sizes or there is no free code.
    """
    if not 0 <= keep < float("inf"):
        raise UserError(f"keep = {keep!r} does not work; give the share by which an item's error may grow, 0 or more")
    if start == "old":
        tokenizer.refit(vectors[fit_on])
    else:
        _fit_anew(tokenizer, old, vectors, fit_on, seed=seed, progress=progress)
    nearest = tokenizer.assign(vectors, taken=ItemCodes(old.table[:0], (*old.sizes[:-1], len(vectors)))).table[:, :-1]
    best = tokenizer.errors(vectors, nearest)
    staying = tokenizer.errors(vectors[: len(old)], old.table[:, :-1])
    kept = staying <= (1 + keep) * best[: len(old)] + 1e-9 * best.mean()
    table = np.empty((len(vectors), old.levels), dtype=np.int64)
    rows = np.concatenate([kept, np.zeros(len(vectors) - len(old), dtype=bool)])
    table[rows] = old.table[kept]
    table[~rows] = tokenizer.assign(vectors[~rows], taken=ItemCodes(old.table[kept], old.sizes)).table
    figures = {
        "kept": int(kept.sum()),
        "moved": int((~kept).sum()),
        "new": len(vectors) - len(old),
        "error": float(tokenizer.errors(vectors, table[:, :-1]).mean()),
        "error_if_none_were_kept": float(best.mean()),
    }
    return Migration(ItemCodes(table, old.sizes), kept, figures)


def _fit_anew(
    tokenizer: RenumberableTokenizer, old: ItemCodes, vectors: np.ndarray, fit_on: np.ndarray, *, seed: int, progress: Progress | None
) -> None:
    fitted = tokenizer.fit(vectors[fit_on], seed=seed, progress=progress)
    if fitted.sizes[:-1] != old.sizes[:-1]:
        raise UserError(
            f"new codebooks on {len(fit_on)} items have {fitted.sizes[:-1]} codes, the old ones {old.sizes[:-1]}: the catalogue has become "
            "too small for them; fit the recipe again"
        )
    known = fit_on < len(old)
    before, after = old.table[fit_on[known], :-1], fitted.table[known, :-1]
    tokenizer.renumber([matched_numbers(*columns) for columns in zip(before.T, after.T, old.sizes[:-1], strict=True)])


def rotation_between(vectors: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The rotation float32 `[dim, dim]` that brings `vectors` closest to `others`, both `[item, dim]` (Procrustes: Schönemann, 1966)."""
    left, _, right = np.linalg.svd(vectors.T.astype(np.float64) @ others.astype(np.float64))
    return (left @ right).astype(np.float32)


def matched_numbers(old: np.ndarray, new: np.ndarray, size: int) -> np.ndarray:
    """New number of each code, int64 `[size]`, a permutation under which most of the items keep their code.

    `old` and `new`: code of the same items before and after, int64 `[item]`. Exact by the Hungarian method (Kuhn, 1955).
    """
    pairs, counts = np.unique(new * size + old, return_counts=True)
    before, after = pairs % size, pairs // size
    if size <= LARGEST_MATCHING:
        overlap = np.zeros((size, size))
        overlap[after, before] = counts
        np.fill_diagonal(overlap, overlap.diagonal() + 1e-6)  # codes that nobody shares keep their number where they can
        return linear_sum_assignment(overlap, maximize=True)[1].astype(np.int64)
    numbers, free = np.full(size, -1, dtype=np.int64), np.ones(size, dtype=bool)
    for place in np.argsort(-counts, kind="stable"):
        if numbers[after[place]] < 0 and free[before[place]]:
            numbers[after[place]] = before[place]
            free[before[place]] = False
    numbers[numbers < 0] = np.flatnonzero(free)
    return numbers
