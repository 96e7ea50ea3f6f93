"""Making a `Generation`: a fitted recommender, the store's items, the rules, and a first answer as a trial. Runs in a thread."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from recsmith.decoding import ItemTable
from recsmith.errors import RecsmithError, UserError
from recsmith.recommender import Recommender
from recsmith.serving.generation import Generation
from recsmith.serving.growth import Growth, typed_column
from recsmith.serving.rule_set import RuleSet
from recsmith.serving.rules_file import RulesFile
from recsmith.serving.store import Store

LOG = logging.getLogger("recsmith.serving")
_NUMBERS = itertools.count(1)


@dataclass
class Ingredients:
    """What every generation of a server is made with."""

    rules: RulesFile = field(default_factory=RulesFile)
    stored: dict[str, Any] | None = None
    """The rules that the store held when these were read: a file's stand above them."""
    accelerate: bool = False
    """Whether models answer with the weights that are fastest here; see `Acceleration`."""


def make_generation(name: str, growth: Growth, store: Store, ingredients: Ingredients) -> Generation:
    """Ready to answer, apart from live counts. Raises `RecsmithError` when the model cannot answer or a rule does not fit."""
    rows = store.items()
    kept = [row for row in rows if not row["deleted"]]
    try:
        recommender, how_new = growth.grow(kept)
    except (RecsmithError, ValueError) as error:
        LOG.error("model %s cannot take in new items, they wait for the next fit: %s", name, error)
        recommender, how_new = growth.base, "nothing"
    if ingredients.accelerate:
        recommender = growth.acceleration.of(recommender)
        LOG.info("model %s answers with weights %s", name, growth.acceleration.figures)
    feed_from = fitted_until(growth.base, store)
    if feed_from and not growth.counted:
        growth.counted = store.counts_until(feed_from)
    generation = Generation(name, next(_NUMBERS), recommender, growth=growth, feed_from=feed_from, how_new=how_new)
    generation.last_item = rows[-1]["number"] if rows else 0
    generation.written = kept
    _retitle(generation, kept)
    generation.hide([row["item_id"] for row in rows if row["deleted"]])
    if ingredients.rules.table():
        generation.rule_set = RuleSet(ingredients.rules, newer_table(generation))
    generation.find_scan()
    _try(generation)
    return generation


def fitted_until(base: Recommender, store: Store) -> int:
    """The last event of the store's feed that a run has learned from, 0 for one that knows nothing of this store."""
    feed = base.card.get("feed", {})
    return int(feed.get("seq", 0)) if feed.get("store") == store.identity else 0


def _retitle(generation: Generation, rows: Sequence[dict[str, Any]]) -> None:
    for row in rows:
        index = generation.index(row["item_id"])
        if index >= 0 and row["title"] is not None:
            generation.titles[index] = row["title"]


def newer_table(generation: Generation) -> ItemTable:
    """The catalogue with the attributes that were written through the API, as far as they have the type of their column."""
    table, rows = generation.recommender.item_table, generation.written
    names = sorted({name for row in rows for name in row["attributes"]})
    if not names:
        return table
    columns = [pl.Series("item_id", [row["item_id"] for row in rows], dtype=pl.String)]
    for name in names:
        values = [row["attributes"].get(name) for row in rows]
        columns.append(_column(name, values, table))
    return table.updated(pl.DataFrame(columns))


def _column(name: str, values: list[Any], table: ItemTable) -> pl.Series:
    try:
        dtype: pl.DataType | type[pl.DataType] = table.column(name).dtype
    except UserError:
        dtype = _type_of(values)
    return typed_column(name, values, dtype)


def _type_of(values: list[Any]) -> pl.DataType | type[pl.DataType]:
    """The type of a column that the catalogue does not have."""
    given = [value for value in values if value is not None]
    if all(isinstance(value, bool) for value in given):
        return pl.Boolean
    if all(isinstance(value, int | float) for value in given):
        return pl.Float64
    return pl.List(pl.String) if any(isinstance(value, list) for value in given) else pl.String


def _try(generation: Generation) -> None:
    """One answer, which also warms the model up. Raises `RecsmithError` when it is none."""
    shown = np.flatnonzero(~generation.hidden)
    if not len(shown):
        return
    question = generation.session(min(10, generation.items), [generation.item_names[shown[0]]], include_seen=True)
    items, scores, _ = generation.answer([question])[0]
    if not np.isfinite(scores).all():
        raise UserError(f"model `{generation.name}` answers {scores.tolist()}; fit it again")
