"""What language models wrote about items and people, on its way into a fit: written first where a recipe says so, then encoded."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from recsmith.data import Catalogue, Dataset, Log
from recsmith.encoders import encode_texts
from recsmith.errors import ConfigError, DataError
from recsmith.language.writers.writing import require_same_people, write
from recsmith.protocols import Progress
from recsmith.recipe import Recipe
from recsmith.runtime import default_cache


def written_for(recipe: Recipe, data: Dataset, *, progress: Progress | None = None) -> Dataset:
    """The data with what the recipe's section [writing] adds; as they are without one, or where the same writer has been there.

    Raises `DataError` where earlier words about people come from training events of another view or split.
    """
    require_same_people(data, view=recipe.view, split=recipe.split)
    plan = recipe.writing
    if plan is None or any(entry["writer"] == plan.name for entry in data.source.get("written", [])):
        return data
    return write(data, plan, view=recipe.view, split=recipe.split, default_cache=default_cache(), progress=progress)


def item_words(recipe: Recipe, data: Dataset, log: Log) -> list[str]:
    """What a prompt calls each item: the recipe's text, else the title; the raw id where there are no words."""
    if data.catalogue is None or (recipe.text is None and data.catalogue.title_column is None):
        raise DataError(f"`{recipe.name}` speaks about items by title, but `{data.name}` has no titles; give a folder with an items file")
    template = recipe.text or f"{{{data.catalogue.title_column}}}"
    texts = data.catalogue.texts(log.items.ids, template=template)
    return [text or f"item {item}" for text, item in zip(texts, log.items.ids, strict=True)]


def people_vectors(recipe: Recipe, data: Dataset, log: Log, facts: dict[str, Any]) -> np.ndarray:
    """Vectors of what is written about each person, float32 `[user, dim]`, by the recipe's encoder; zeros where there is nothing.

    The encoder's prompt is that of queries, because people are what items are looked up for.

    Raises `ConfigError` for a recipe without an encoder.
    """
    if recipe.encoder is None or recipe.encoder.name.startswith("file:"):
        raise ConfigError(f'`{recipe.name}` reads texts about people; give it an [encoder] of texts, such as name = "auto"')
    texts = _people_texts(recipe, data, log)
    told = [place for place, text in enumerate(texts) if text]
    items = [] if data.catalogue is None else data.catalogue.texts(log.items.ids, template=recipe.text)
    encoded = encode_texts([texts[place] for place in told] or [""], recipe.encoder, side="queries", reference=items or None)
    vectors = np.zeros((len(texts), encoded.vectors.shape[1]), dtype=np.float32)
    vectors[told] = encoded.vectors[: len(told)]
    facts["people's texts"] = {"people": len(told), "of": len(texts), "text": recipe.user_text or "what was written"}
    return vectors


def _people_texts(recipe: Recipe, data: Dataset, log: Log) -> list[str]:
    columns = [entry["column"].removeprefix("users.") for entry in data.source.get("written", []) if "users." in entry.get("column", "")]
    if recipe.user_text is None and not columns:
        return [""] * len(log.users)
    if data.users is None:
        raise DataError(
            f"setting `user_text` names columns of the users' table, but `{data.name}` has none; give a folder with a users file"
        )
    template = recipe.user_text or ". ".join(f"{{{column}}}" for column in columns)
    wanted = data.users.rename({"user_id": "item_id"})
    ids = log.users.ids if wanted.schema["item_id"] == log.users.ids.dtype else log.users.ids.cast(pl.String)
    table = Catalogue(wanted if wanted.schema["item_id"] == ids.dtype else wanted.with_columns(pl.col("item_id").cast(pl.String)))
    return table.texts(ids, template=template)
