"""What every step of the life of semantic IDs reads from a run: its codes, its tokenizer, its items' texts and vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from recsmith.building import build_tokenizer
from recsmith.data import Catalogue, ItemCodes, Vocabulary, fingerprint
from recsmith.encoders import encode_texts, given_vectors
from recsmith.errors import ArtifactError, DataError, UserError
from recsmith.item_tokenizers import code_figures
from recsmith.item_tokenizers.collisions import prefix_groups
from recsmith.protocols import ItemTokenizer, Progress
from recsmith.run_folder import RunState

GIVEN_ENCODER = "file:"
"""How the recorded name of the encoder begins whose vectors come from a file."""
LOCAL_ENCODER = "hashed-tfidf"
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


def tokenizer_of(state: RunState) -> ItemTokenizer:
    """The fitted tokenizer of a run. Raises `ArtifactError` when the run does not hold it."""
    if state.recipe.tokenizer is None or state.tokenizer is None:
        raise ArtifactError("the run has item codes but not the tokenizer that made them; make the run again")
    tokenizer = build_tokenizer(state.recipe.tokenizer)
    tokenizer.load_state(state.tokenizer)
    return tokenizer


def recorded_texts(state: RunState) -> dict[str, Any] | None:
    """What the card says about the texts that the codes were made from: their template (`text`) and hash (`texts`); None without texts."""
    for part in ("encoder", "tokenizer"):
        recorded: dict[str, Any] = state.card.get(part) or {}
        if "text" in recorded:
            return recorded
    return None


def texts_in_step(state: RunState) -> list[str]:
    """The texts of the run's items as they were when the codes were made, in the order of the items.

    Raises `ArtifactError` with both hashes when the run's catalogue says something else now, `UserError` when no texts were encoded.
    """
    recorded = recorded_texts(state)
    if recorded is None or state.catalogue is None:
        raise UserError(f"recipe `{state.recipe.name}` encoded no item texts; codes for new items need a run whose codes come from texts")
    texts = state.catalogue.texts(state.log.items.ids, template=recorded["text"])
    found = fingerprint(texts)
    if recorded.get("texts", found) != found:
        raise ArtifactError(
            f"catalogue and codes are out of step: the codes were made from texts with hash {recorded['texts']}, "
            f"the run's catalogue now gives texts with hash {found}; "
            "put the catalogue back, and bring new texts with: recsmith tokens migrate RUN --items FILE"
        )
    return texts


def recorded_encoder(state: RunState) -> dict[str, Any]:
    """What the card says about the encoder. Raises `UserError` when no vectors were made of the items' texts."""
    recorded: dict[str, Any] | None = state.card.get("encoder")
    if state.recipe.encoder is None or recorded is None or "text" not in recorded:
        raise UserError(
            f"recipe `{state.recipe.name}` made no vectors of item texts, so there is nothing to measure them by; "
            "give a run whose codes come from vectors, such as `tiger`"
        )
    return recorded


def encode_as_recorded(state: RunState, catalogue: Catalogue, item_ids: pl.Series, *, progress: Progress | None = None) -> np.ndarray:
    """Vectors `[item, dim]` of items of any `catalogue`, by the template and encoder that the run recorded.

    Raises `ArtifactError` when this machine's encoder, or the texts it learned from, are not those of the run, naming both.
    """
    recorded = state.card.get("encoder") or {"name": ""}
    if recorded["name"].startswith(GIVEN_ENCODER):
        return given_vectors(recorded["name"].removeprefix(GIVEN_ENCODER), item_ids)
    template, known = recorded_encoder(state)["text"], texts_in_step(state)
    return _encoded(state, catalogue.texts(item_ids, template=template), known, progress)


def encode_more(state: RunState, texts: list[str], *, progress: Progress | None = None) -> np.ndarray:
    """Vectors `[item + text, dim]` of the run's items and, behind them, of further `texts`, as the run recorded; learned once for all."""
    known = texts_in_step(state)
    return _encoded(state, [*known, *texts], known, progress)


def _encoded(state: RunState, texts: list[str], known: list[str], progress: Progress | None) -> np.ndarray:
    recorded = recorded_encoder(state)
    assert state.recipe.encoder is not None
    local = recorded["name"].startswith(LOCAL_ENCODER)
    config = state.recipe.encoder.override(name="tfidf") if local else state.recipe.encoder
    encoded = encode_texts(texts, config, reference=known, progress=progress)
    if encoded.encoder_name != recorded["name"]:
        raise ArtifactError(
            f"the run's vectors come from {recorded['name']}, here the encoder is {encoded.encoder_name}; "
            "use the machine and packages that the run was made with, or fit again"
        )
    return encoded.vectors


def items_like(known: Vocabulary, items: Catalogue) -> Catalogue:
    """`items` with ids of the type that the run has. Raises `DataError` when they cannot be."""
    given = items.frame["item_id"].dtype
    if known.dtype == pl.Int64 and given != pl.Int64:
        raise DataError(f"the run's item ids are whole numbers, those of the new items are text (such as `{items.frame['item_id'][0]}`)")
    return items.with_id_dtype(known.dtype)


def collisions(codes: ItemCodes) -> dict[str, Any]:
    """Collision figures, and how many prefixes have no collision code left."""
    figures = code_figures(codes)
    full = np.bincount(prefix_groups(codes.table[:, :-1])) >= codes.sizes[-1]
    kept = ("items", "collision_rate", "largest_collision", "distinct_prefixes")
    return {**{name: figures[name] for name in kept}, "full_prefixes": int(full.sum())}
