"""A run on new codebooks, learned on the current catalogue, in which as many items as possible keep their ids."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import torch

from recsmith.building import build_model, build_tokenizer
from recsmith.data import Catalogue, Histories, ItemCodes, Log, codes_fingerprint, fingerprint, item_categories, split_log
from recsmith.encoders import encode_texts
from recsmith.errors import UserError
from recsmith.item_tokenizers import code_figures, tokenizer_card
from recsmith.item_tokenizers.migration import RenumberableTokenizer, Start, migrate_codes, rotation_between
from recsmith.protocols import Observer, Progress
from recsmith.run_folder import RunState
from recsmith.seeding import derive_seed
from recsmith.tokens.reading import LOCAL_ENCODER, codes_of, encode_as_recorded, items_like, recorded_encoder, texts_in_step, tokenizer_of

KEEP = 0.1
"""Share by which an item's error may grow so that it keeps its codes."""
_OUTDATED = ("metrics", "validation", "reported", "curve", "checks", "cost")
"""Parts of a card that are about the old codes."""


def migrate_tokens(
    state: RunState, items: Catalogue, *, keep: float = KEEP, start: Start = "old", progress: Progress | None = None
) -> tuple[RunState, dict[str, Any]]:
    """The run with codebooks learned on `items`, the current catalogue, and facts about what became of the codes.

    Items that are gone stay in the run, because histories hold them, but the codebooks are learned without them; new items come behind
    the old ones. `start` and `keep` as in `migrate_codes`: from the old codebooks most items keep their ids; fresh ones describe the
    items better and change most ids. The model keeps its weights: a code that most of its items kept means what it meant, the rest has
    to be learned by `update`. Its test figures leave the card. Raises `ArtifactError` when the run's catalogue and codes are out of step
    (both hashes) and `UserError` when the tokenizer or the model do not allow it.
    """
    old = codes_of(state)
    known_texts = texts_in_step(state)
    items = items_like(state.log.items, items)
    vocabulary = state.log.items.extended(items.frame["item_id"])
    merged = _merged(state, items)
    vectors, encoder = _encoded(state, merged, vocabulary.ids, progress)
    current = np.sort(vocabulary.indices(items.frame["item_id"]))
    log = Log(state.log.users, vocabulary, state.log.histories)
    train = split_log(log, state.recipe.split).train
    texts = merged.texts(state.log.items.ids, template=encoder["text"])
    same = np.array([before == after for before, after in zip(known_texts, texts, strict=True)], dtype=bool)
    if start == "old":
        tokenizer = _old_tokenizer(state, vectors[: len(old)], same, moved=encoder["name"] != state.card["encoder"]["name"])
    else:
        tokenizer = _fresh_tokenizer(state, old, train, current, len(vocabulary))
    seed = derive_seed(int(state.card.get("seeds", [0])[0]), "tokenizer")
    result = migrate_codes(tokenizer, old, vectors, fit_on=current, start=start, keep=keep, seed=seed, progress=progress)
    card = _card(state, result.codes, encoder, {"start": start, "keep": keep, **result.figures})
    categories = item_categories(merged, vocabulary)
    measured = tokenizer_card(result.codes, vectors=vectors, categories=categories, histories=train)
    card["tokens"] |= {name: value for name, value in measured.items() if name != "codes"}
    migrated = replace(
        state,
        weights=_weights(state, result.codes),
        log=log,
        popularity=np.pad(state.popularity, (0, len(vocabulary) - len(old))),
        catalogue=merged,
        codes=result.codes,
        tokenizer=tokenizer.state(),
        card=card,
    )
    facts = {
        "version": card["tokens"]["version"],
        "items": len(vocabulary),
        "current": len(current),
        "gone": len(vocabulary) - len(current),
        "changed_texts": int((~same).sum()),
        **result.figures,
        "kept_share": float(result.kept.mean()) if len(result.kept) else None,
        "collisions": {"before": code_figures(old)["collision_rate"], "after": code_figures(result.codes)["collision_rate"]},
        "hashes": {"before": codes_fingerprint(old), "after": codes_fingerprint(result.codes)},
    }
    return migrated, facts


def _merged(state: RunState, items: Catalogue) -> Catalogue:
    """The current catalogue, and behind it what is known of items that are gone."""
    assert state.catalogue is not None
    earlier = state.catalogue.frame.with_columns(pl.col("item_id").cast(items.frame["item_id"].dtype))
    gone = earlier.join(items.frame.select("item_id"), on="item_id", how="anti")
    frame = pl.concat([items.frame, gone], how="diagonal_relaxed")
    return Catalogue(frame, {**state.catalogue.kinds, **items.kinds})


def _encoded(state: RunState, merged: Catalogue, ids: pl.Series, progress: Progress | None) -> tuple[np.ndarray, dict[str, Any]]:
    """Vectors of all items, and what the card says about their encoder. One that learns from the texts learns from the new ones."""
    recorded = recorded_encoder(state)
    assert state.recipe.encoder is not None
    local = recorded["name"].startswith(LOCAL_ENCODER)
    texts = merged.texts(ids, template=recorded["text"])
    encoded = encode_texts(texts, state.recipe.encoder.override(name="tfidf") if local else state.recipe.encoder, progress=progress)
    if not local and encoded.encoder_name != recorded["name"]:
        raise UserError(
            f"the run's vectors come from {recorded['name']}, here the encoder is {encoded.encoder_name}; "
            "use the machine and packages that the run was made with, or fit again"
        )
    return encoded.vectors, {**recorded, "name": encoded.encoder_name, "texts": fingerprint(texts), "cached": encoded.cached}


def _old_tokenizer(state: RunState, vectors: np.ndarray, same: np.ndarray, *, moved: bool) -> RenumberableTokenizer:
    """The run's tokenizer. Where the encoder learned anew, and so has another space, it is told how to turn that into its own."""
    tokenizer = _renumberable(state, tokenizer_of(state))
    if not moved:
        return tokenizer
    assert state.catalogue is not None
    if not same.any():
        raise UserError("no item has the text that it had, so old and new vectors cannot be compared; use fresh codebooks: --fresh")
    before = encode_as_recorded(state, state.catalogue, state.log.items.ids)
    tokenizer.turn(rotation_between(vectors[same], before[same]))
    return tokenizer


def _fresh_tokenizer(state: RunState, old: ItemCodes, train: Histories, current: np.ndarray, count: int) -> RenumberableTokenizer:
    """The run's kind of tokenizer, not fitted, with level sizes as they are."""
    part = state.recipe.tokenizer
    assert part is not None
    if len(set(old.sizes[:-1])) != 1:
        raise UserError(f"levels of {old.sizes[:-1]} codes cannot be learned anew with the same sizes; migrate from the old codebooks")
    tokenizer = _renumberable(state, build_tokenizer(part.override(settings={**part.settings, "size": old.sizes[0]})))
    if isinstance(tokenizer, Observer):
        place = np.full(count, -1, dtype=np.int64)
        place[current] = np.arange(len(current))
        moved = train.with_values(place[train.values])
        tokenizer.observe(moved.where(moved.values >= 0))
    return tokenizer


def _renumberable(state: RunState, tokenizer: object) -> RenumberableTokenizer:
    assert state.recipe.tokenizer is not None
    if not isinstance(tokenizer, RenumberableTokenizer):
        raise UserError(
            f"codes of tokenizer `{state.recipe.tokenizer.name}` cannot be kept under new codebooks, because its codes are not numbered "
            "level by level; fit the recipe again on the new catalogue"
        )
    if state.vectors is not None:
        raise UserError(
            f"model `{state.recipe.model.name}` reads item vectors beside the codes, and new vectors would mean something else to it; fit "
            "the recipe again on the new catalogue"
        )
    return tokenizer


def _weights(state: RunState, codes: ItemCodes) -> dict[str, torch.Tensor]:
    """The old weights beside the tables of the new codes. Raises `UserError` when weights belong to single items."""
    model = build_model(state.recipe, items=len(codes), codes=codes)
    learned = dict(model.named_parameters())
    strange = [name for name, tensor in learned.items() if name not in state.weights or state.weights[name].shape != tensor.shape]
    if strange:
        raise UserError(
            f"model `{state.recipe.model.name}` has weights of single items (`{strange[0]}`), which new items lack; fit the recipe again "
            "on the new catalogue"
        )
    fresh = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    kept = {*learned, *getattr(model, "learned_buffers", ())}
    same = {name for name, tensor in fresh.items() if name in kept or tensor.is_floating_point()}
    return {name: state.weights.get(name, tensor) if name in same else tensor for name, tensor in fresh.items()}


def _card(state: RunState, codes: ItemCodes, encoder: dict[str, Any], figures: dict[str, Any]) -> dict[str, Any]:
    tokens = state.card.get("tokens", {})
    card = {name: value for name, value in state.card.items() if name not in _OUTDATED}
    card["encoder"] = encoder
    card["tokenizer"] = {**state.card.get("tokenizer", {}), **code_figures(codes)}
    card["tokens"] = {
        "version": int(tokens.get("version", 1)) + 1,
        "hash": codes_fingerprint(codes),
        "migrated_from": tokens.get("hash") or codes_fingerprint(codes_of(state)),
        **figures,
    }
    return card
