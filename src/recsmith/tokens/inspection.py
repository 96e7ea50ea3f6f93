"""What a run's semantic IDs are worth, and the tree that they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from recsmith.data import item_categories, split_log
from recsmith.errors import RecsmithError
from recsmith.item_tokenizers import code_figures, tokenizer_card
from recsmith.protocols import Progress
from recsmith.run_folder import RunState
from recsmith.tokens.reading import codes_of, encode_as_recorded

_COLLAPSE = "hardly any of its codes is in effective use; fit again with another seed, a smaller `tokenizer.size` or fewer levels"


def inspect_tokens(state: RunState, *, branches: int = 6, progress: Progress | None = None) -> dict[str, Any]:
    """Settings, the tokenizer card (see `tokenizer_card`; co-occurrence from training events only), and a sample of the code tree.

    `notes` says what could not be measured, and why.
    """
    codes = codes_of(state)
    assert state.recipe.tokenizer is not None
    notes: list[str] = []
    categories = None if state.catalogue is None else item_categories(state.catalogue, state.log.items)
    if categories is None:
        notes.append("no prefix purity: the catalogue has no categories")
    vectors = None
    if state.recipe.encoder is None or state.catalogue is None:
        notes.append("no neighbour overlap: the codes were made without item vectors")
    else:
        try:
            vectors = encode_as_recorded(state, state.catalogue, state.log.items.ids, progress=progress)
        except RecsmithError as error:
            notes.append(f"no neighbour overlap: {error}")
    notes += [f"level {level} has collapsed: {_COLLAPSE}" for level in code_figures(codes)["collapsed_levels"]]
    train = split_log(state.log, state.recipe.split).train
    return {
        "recipe": state.recipe.name,
        "tokenizer": {"name": state.recipe.tokenizer.name, **state.recipe.tokenizer.settings},
        "encoder": state.card.get("encoder"),
        **tokenizer_card(codes, vectors=vectors, categories=categories, histories=train),
        "ids": spelled_ids(state),
        "tree": code_tree(state, branches=branches),
        "notes": notes,
    }


def spelled_ids(state: RunState, *, most: int = 10) -> list[dict[str, str]]:
    """The ids in words of the most popular items, with their titles; empty where codes do not spell words."""
    codes = codes_of(state)
    if not codes.words:
        return []
    best = np.argsort(-state.popularity, kind="stable")[:most]
    names, spelled = _names(state), codes.spelled()
    return [{"title": names[item], "id": spelled[item]} for item in best]


def code_tree(state: RunState, *, branches: int = 6, children: int = 3, titles: int = 3) -> list[dict[str, Any]]:
    """The largest first codes and their largest second codes, each with the titles of its most popular items (the id without a title).

    A node is `{"prefix": [codes], "items": how many, "titles": […], "children": [nodes]}`.
    """
    codes = codes_of(state)
    names = _names(state)

    def node(rows: np.ndarray, depth: int) -> dict[str, Any]:
        best = rows[np.argsort(-state.popularity[rows], kind="stable")][:titles]
        below = _largest(codes.table, rows, depth, children) if depth < min(2, codes.levels - 1) else []
        return {
            "prefix": codes.table[rows[0], :depth].tolist(),
            "items": len(rows),
            "titles": [names[row] for row in best],
            "children": [node(part, depth + 1) for part in below],
        }

    return [node(rows, 1) for rows in _largest(codes.table, np.arange(len(codes)), 0, branches)]


def _names(state: RunState) -> list[str]:
    """Each item's title, or its id as text."""
    names = state.log.items.ids.cast(pl.String).to_list()
    if state.catalogue is None:
        return names
    return [title or name for title, name in zip(state.catalogue.titles(state.log.items.ids).to_list(), names, strict=True)]


def _largest(table: np.ndarray, rows: np.ndarray, level: int, count: int) -> list[np.ndarray]:
    """The rows of the `count` most frequent codes of one level, most frequent first."""
    frequency = np.bincount(table[rows, level])
    most = np.argsort(-frequency, kind="stable")[:count]
    return [rows[table[rows, level] == code] for code in most if frequency[code]]
