"""The categories of every item as packed lists of numbers, for diversity and for cards."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsmith.data.catalogue import Catalogue
from recsmith.data.histories import Histories, offsets_of
from recsmith.data.vocabulary import Vocabulary


def item_categories(catalogue: Catalogue, items: Vocabulary) -> Histories | None:
    """Row i = category numbers of item i; from the first list column of the catalogue, else the first category column, else None."""
    column = next((name for kind in ("list", "category") for name, found in catalogue.kinds.items() if found == kind), None)
    if column is None:
        return None
    pairs = catalogue.frame.select("item_id", pl.col(column).alias("category"))
    if catalogue.kinds[column] == "list":
        pairs = pairs.explode("category", empty_as_null=True)
    pairs = pairs.drop_nulls()
    item = items.indices(pairs["item_id"])
    known = item >= 0
    item, names = item[known], pairs["category"].cast(pl.String).filter(pl.Series(known))
    category = Vocabulary(names).indices(names)
    order = np.argsort(item, kind="stable")
    return Histories(category[order], offsets_of(np.bincount(item, minlength=len(items)).astype(np.int64)))
