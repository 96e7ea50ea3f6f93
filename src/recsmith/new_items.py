"""`add_items`: a fitted recommender over a longer catalogue, without training, for models that know items by their texts alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from recsmith.building import build_model
from recsmith.data import Catalogue, Log
from recsmith.encoders import encode_texts
from recsmith.errors import DataError, UserError
from recsmith.protocols import Progress
from recsmith.recommender import Recommender


def add_items(recommender: Recommender, catalogue: Catalogue, *, progress: Progress | None = None) -> Recommender:
    """A copy of `recommender` that can also answer with the items of `catalogue` that it does not have yet.

    New items are encoded as those of the run were (tfidf: with the word frequencies of the run's own catalogue), the learned weights stay.
    Raises `UserError` where the model has weights per item or the vectors came from a file, and `DataError` when nothing is new.
    """
    recipe, model, log = recommender.recipe, recommender.model, recommender.log
    if not getattr(model, "inductive", False) or recommender.vectors is None or recommender.catalogue is None:
        raise UserError(
            f"`{recipe.name}` learned something for each item, so new items need another fit; "
            "recipes that take them as they come: content-knn, unisrec, zesrec, alpharec"
        )
    if recipe.encoder is None or recipe.encoder.name.startswith("file:"):
        raise UserError(f"`{recipe.name}` has vectors that were made elsewhere; fit again with a file that also holds the new items")
    ids = catalogue.frame["item_id"].cast(log.items.ids.dtype, strict=False)
    new = ids.filter(pl.Series(log.items.indices(ids) < 0) & ids.is_not_null()).sort()
    if new.is_empty():
        raise DataError(f"none of the {len(ids):,} items is new to this run; give a catalogue with items that it does not have")
    fitted = log.items.ids.head(int(recommender.card["data"]["items"]))
    reference = recommender.catalogue.texts(fitted, template=recipe.text)
    texts = catalogue.texts(new.cast(catalogue.frame["item_id"].dtype), template=recipe.text or recommender.catalogue.default_template())
    encoded = encode_texts(texts, recipe.encoder, reference=reference, progress=progress)
    vectors = np.concatenate([recommender.vectors, encoded.vectors])
    longer = build_model(recipe, items=len(vectors), codes=None, vectors=vectors)
    longer.load_state_dict(model.state_dict())
    return replace(
        recommender,
        model=longer.to(recommender.device).eval(),
        log=Log(log.users, log.items.extended(new), log.histories),
        popularity=np.concatenate([recommender.popularity, np.zeros(len(new), dtype=recommender.popularity.dtype)]),
        catalogue=_joined(recommender.catalogue, catalogue, new),
        vectors=vectors,
        card={**recommender.card, "items added": recommender.card.get("items added", 0) + len(new)},
    )


def _joined(old: Catalogue, new: Catalogue, ids: pl.Series) -> Catalogue:
    """The old table with the rows of `ids` from the new one below; columns that only the new one has are left out."""
    rows = new.with_id_dtype(old.frame["item_id"].dtype).frame.filter(pl.col("item_id").is_in(ids.implode()))
    kept = rows.select(pl.col(name).cast(old.frame.schema[name], strict=False) for name in old.frame.columns if name in rows.columns)
    return Catalogue(pl.concat([old.frame, kept], how="diagonal"), old.kinds)
