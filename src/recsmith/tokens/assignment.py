"""Codes for items that a run does not know, without training anything."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from recsmith.data import Catalogue, ItemCodes
from recsmith.item_tokenizers.collisions import prefix_groups
from recsmith.protocols import BoundItemTokenizer, ItemTokenizer, Progress
from recsmith.run_folder import RunState
from recsmith.tokens.reading import codes_of, collisions, encode_as_recorded, items_like, recorded_texts, texts_in_step, tokenizer_of


def assign_tokens(state: RunState, items: Catalogue, *, progress: Progress | None = None) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Codes for those of `items` that the run does not know, by its fitted tokenizer: nothing is trained and no old code changes.

    Returns `item_id, level_0, …` in the order of `items`, and facts: how many are new, how many of these share the learned codes of an
    old item, how many had to leave a full prefix, and the collision figures before and after. Raises `UserError` where no code is free.
    """
    codes = codes_of(state)
    items = items_like(state.log.items, items)
    ids = items.frame["item_id"]
    new = ids.filter(pl.Series(state.log.items.indices(ids) < 0))
    tokenizer = tokenizer_of(state)
    own, assigned = codes.table[:0], ItemCodes(codes.table[:0], codes.sizes)
    if len(new):
        vectors = _vectors_for(state, tokenizer, items, new, progress)
        roomy = ItemCodes(codes.table[:0], (*codes.sizes[:-1], len(new)))
        own = tokenizer.assign(vectors, taken=roomy).table
        assigned = tokenizer.assign(vectors, taken=codes)
    frame = pl.DataFrame([new.rename("item_id"), *(pl.Series(f"level_{level}", column) for level, column in enumerate(assigned.table.T))])
    after = ItemCodes(np.concatenate([codes.table, assigned.table]), codes.sizes)
    facts = {
        "items": len(ids),
        "known": len(ids) - len(new),
        "new": len(new),
        "without_text": _without_text(state, items, new),
        "sharing_with_old": int(_prefix_in(assigned.table[:, :-1], codes.table[:, :-1]).sum()),
        "left_full_prefix": int((own[:, :-1] != assigned.table[:, :-1]).any(axis=1).sum()),
        "before": collisions(codes),
        "after": collisions(after),
    }
    return frame, facts


def _vectors_for(state: RunState, tokenizer: ItemTokenizer, items: Catalogue, new: pl.Series, progress: Progress | None) -> np.ndarray:
    if isinstance(tokenizer, BoundItemTokenizer):
        if recorded_texts(state) is not None:
            texts_in_step(state)
        tokenizer.bind(new, items)
        return np.empty((len(new), 0), dtype=np.float32)
    return encode_as_recorded(state, items, new, progress=progress)


def _without_text(state: RunState, items: Catalogue, new: pl.Series) -> int:
    recorded = recorded_texts(state)
    if recorded is None:
        return 0
    return sum(not text for text in items.texts(new, template=recorded["text"]))


def _prefix_in(prefixes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which rows of `prefixes` stand among `others`, bool `[row]`."""
    group = prefix_groups(np.concatenate([others, prefixes]))
    return np.isin(group[len(others) :], group[: len(others)])
