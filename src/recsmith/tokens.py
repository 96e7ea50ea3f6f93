"""The life of semantic IDs after a run: what they are worth, codes for new items without retraining, and what changed between two runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from recsmith.data import Catalogue, ItemCodes, Vocabulary, item_categories, split_log
from recsmith.encoders import encode_texts
from recsmith.errors import ArtifactError, DataError, RecsmithError, UserError
from recsmith.item_tokenizers import code_figures, tokenizer_card
from recsmith.item_tokenizers.collisions import prefix_groups
from recsmith.protocols import BoundItemTokenizer, ItemTokenizer, Progress
from recsmith.recommender import build_tokenizer
from recsmith.run_folder import RunState

_LOCAL_ENCODER = "hashed-tfidf"
"""How the recorded name of the encoder begins that learns from the run's own texts."""


def codes_of(state: RunState) -> ItemCodes:
    """A run's item codes. Raises `UserError` when its model has none and `ArtifactError` when they are not those of its items."""
    if state.codes is None:
        raise UserError(
            f"recipe `{state.recipe.name}` has no item codes: its model scores items; give a run of one that does, such as `tiger`"
        )
    if len(state.codes) != len(state.log.items):
        raise ArtifactError(f"the run has codes of {len(state.codes)} items and a log of {len(state.log.items)}; make the run again")
    return state.codes


# ---- inspect ------------------------------------------------------------------------------------------------------------


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
    train = split_log(state.log, state.recipe.split).train
    return {
        "recipe": state.recipe.name,
        "tokenizer": {"name": state.recipe.tokenizer.name, **state.recipe.tokenizer.settings},
        "encoder": state.card.get("encoder"),
        **tokenizer_card(codes, vectors=vectors, categories=categories, histories=train),
        "tree": code_tree(state, branches=branches),
        "notes": notes,
    }


def code_tree(state: RunState, *, branches: int = 6, children: int = 3, titles: int = 3) -> list[dict[str, Any]]:
    """The largest first codes and their largest second codes, each with the titles of its most popular items (the id without a title).

    A node is `{"prefix": [codes], "items": how many, "titles": […], "children": [nodes]}`.
    """
    codes = codes_of(state)
    names = state.log.items.ids.cast(pl.String).to_list()
    if state.catalogue is not None:
        names = [title or name for title, name in zip(state.catalogue.titles(state.log.items.ids).to_list(), names, strict=True)]

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


def _largest(table: np.ndarray, rows: np.ndarray, level: int, count: int) -> list[np.ndarray]:
    """The rows of the `count` most frequent codes of one level, most frequent first."""
    frequency = np.bincount(table[rows, level])
    most = np.argsort(-frequency, kind="stable")[:count]
    return [rows[table[rows, level] == code] for code in most if frequency[code]]


def encode_as_recorded(state: RunState, catalogue: Catalogue, item_ids: pl.Series, *, progress: Progress | None = None) -> np.ndarray:
    """Vectors `[item, dim]` of items of any `catalogue`, by the template and encoder that the run recorded.

    Raises `ArtifactError` when this machine's encoder, or the texts it learned from, are not those of the run, naming both.
    """
    recorded = state.card.get("encoder")
    if state.recipe.encoder is None or recorded is None or state.catalogue is None:
        raise UserError(f"recipe `{state.recipe.name}` encoded no item texts; codes for new items need a run whose codes come from texts")
    known = state.catalogue.texts(state.log.items.ids, template=recorded["text"])
    local = recorded["name"].startswith(_LOCAL_ENCODER)
    config = state.recipe.encoder.override(name="tfidf") if local else state.recipe.encoder
    encoded = encode_texts(catalogue.texts(item_ids, template=recorded["text"]), config, reference=known, progress=progress)
    if encoded.encoder_name != recorded["name"]:
        raise ArtifactError(
            f"the run's vectors come from {recorded['name']}, here the encoder is {encoded.encoder_name}; "
            "use the machine and packages that the run was made with, or fit again"
        )
    return encoded.vectors


# ---- assign -------------------------------------------------------------------------------------------------------------


def assign_tokens(state: RunState, items: Catalogue, *, progress: Progress | None = None) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Codes for those of `items` that the run does not know, by its fitted tokenizer: nothing is trained and no old code changes.

    Returns `item_id, level_0, …` in the order of `items`, and facts: how many are new, how many of these share the learned codes of an
    old item, how many had to leave a full prefix, and the collision figures before and after. Raises `UserError` where no code is free.
    """
    codes = codes_of(state)
    items = _with_ids_of(items, state.log.items)
    ids = items.frame["item_id"]
    new = ids.filter(pl.Series(state.log.items.indices(ids) < 0))
    tokenizer = _tokenizer_of(state)
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
        "before": _collisions(codes),
        "after": _collisions(after),
    }
    return frame, facts


def _with_ids_of(items: Catalogue, known: Vocabulary) -> Catalogue:
    given = items.frame["item_id"].dtype
    if known.dtype == pl.Int64 and given != pl.Int64:
        raise DataError(f"the run's item ids are whole numbers, those of the new items are text (such as `{items.frame['item_id'][0]}`)")
    return items.with_id_dtype(known.dtype)


def _tokenizer_of(state: RunState) -> ItemTokenizer:
    if state.recipe.tokenizer is None or state.tokenizer is None:
        raise ArtifactError("the run has item codes but not the tokenizer that made them; make the run again")
    tokenizer = build_tokenizer(state.recipe.tokenizer)
    tokenizer.load_state(state.tokenizer)
    return tokenizer


def _vectors_for(state: RunState, tokenizer: ItemTokenizer, items: Catalogue, new: pl.Series, progress: Progress | None) -> np.ndarray:
    if isinstance(tokenizer, BoundItemTokenizer):
        tokenizer.bind(new, items)
        return np.empty((len(new), 0), dtype=np.float32)
    return encode_as_recorded(state, items, new, progress=progress)


def _without_text(state: RunState, items: Catalogue, new: pl.Series) -> int:
    recorded = state.card.get("encoder")
    return 0 if recorded is None else sum(not text for text in items.texts(new, template=recorded["text"]))


def _prefix_in(prefixes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which rows of `prefixes` stand among `others`, bool `[row]`."""
    group = prefix_groups(np.concatenate([others, prefixes]))
    return np.isin(group[len(others) :], group[: len(others)])


def _collisions(codes: ItemCodes) -> dict[str, Any]:
    figures = code_figures(codes)
    full = np.bincount(prefix_groups(codes.table[:, :-1])) >= codes.sizes[-1]
    kept = ("items", "collision_rate", "largest_collision", "distinct_prefixes")
    return {**{name: figures[name] for name in kept}, "full_prefixes": int(full.sum())}


# ---- diff ---------------------------------------------------------------------------------------------------------------


def diff_tokens(old: RunState, new: RunState) -> dict[str, Any]:
    """What became of the items' codes from one run to another; items are matched by raw id.

    `changed` counts items in both with other learned codes, `changed_by_level` the share with another code at each level that both
    have. Retrained codebooks number their codes anew, so `kept_company` says what is left of the grouping itself: the share of pairs
    of items with equal codes up to a level that have equal codes there in the new run too (None without such pairs).
    """
    before, after = codes_of(old), codes_of(new)
    index = new.log.items.indices(old.log.items.ids)
    common = index >= 0
    left, right = before.table[common], after.table[index[common]]
    levels = min(before.levels, after.levels) - 1
    learned_differ = before.levels != after.levels or (left[:, :-1] != right[:, :-1]).any(axis=1)
    changed = int(np.broadcast_to(learned_differ, len(left)).sum())
    return {
        "sizes": {"old": list(before.sizes), "new": list(after.sizes)},
        "items": {"old": len(before), "new": len(after), "common": len(left)},
        "added": len(after) - len(left),
        "removed": len(before) - len(left),
        "changed": changed,
        "changed_share": changed / len(left) if len(left) else None,
        "changed_by_level": [float((left[:, level] != right[:, level]).mean()) if len(left) else None for level in range(levels)],
        "changed_collision_code": _other_digit(left, right, learned_differ),
        "kept_company": [_kept_company(left[:, : level + 1], right[:, : level + 1]) for level in range(levels)],
        "collisions": {"old": _collisions(before), "new": _collisions(after)},
    }


def _other_digit(left: np.ndarray, right: np.ndarray, learned_differ: bool | np.ndarray) -> int:
    """Items with the same learned codes and another code at the collision level."""
    return int((~np.broadcast_to(learned_differ, len(left)) & (left[:, -1] != right[:, -1])).sum())


def _kept_company(left: np.ndarray, right: np.ndarray) -> float | None:
    if not len(left):
        return None
    old, new = prefix_groups(left), prefix_groups(right)
    pairs = _pairs(np.bincount(old))
    return _pairs(np.unique(np.column_stack([old, new]), axis=0, return_counts=True)[1]) / pairs if pairs else None


def _pairs(counts: np.ndarray) -> float:
    return float((counts.astype(np.float64) * (counts - 1) / 2).sum())


__all__ = ["assign_tokens", "code_tree", "codes_of", "diff_tokens", "encode_as_recorded", "inspect_tokens"]
