"""`CategoryCodes`: the path of an item's categories, the most common one first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import polars as pl
from pydantic import Field

from recsmith.data import ItemCodes
from recsmith.errors import DataError, UserError, suggestion
from recsmith.item_tokenizers.collisions import assign_new
from recsmith.item_tokenizers.plain import PlainConfig, PlainTokenizer

NONE = 0
"""Code of a level at which an item has no category, or one that was not there when the tokenizer was fitted."""


class CategoryConfig(PlainConfig):
    """Settings of semantic indexing."""

    levels: int = Field(3, ge=1, le=16)
    """Categories of a path; the collision level, which numbers the items of a path, comes on top."""
    column: str = ""
    """Column of the catalogue with the categories, a list or a single one; empty takes the first such column."""
    order: str = Field("common", pattern="^(common|given)$")
    """Which categories come first: common (those of most items) or given (as the column lists them, for a hierarchy)."""


class CategoryCodes(PlainTokenizer):
    """Semantic indexing (Hua et al., 2023): an item's id is its path through the categories and a number among items of that path.

    A level's codes are its categories under any parent, and 0 stands for none. Deviation: catalogues that list categories without a
    hierarchy are read from the most common category to the rarest. New items take the path of their categories.
    """

    Config: ClassVar[type[PlainConfig]] = CategoryConfig

    _ranks: dict[str, int]
    _books: list[list[str]]

    def _index(self, items: int, *, seed: int) -> tuple[np.ndarray, Sequence[int]]:
        listed = self._categories(items)
        counts = Counter(name for names in listed for name in set(names))
        self._ranks = {name: rank for rank, (name, _) in enumerate(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))}
        paths = [self._path(names) for names in listed]
        self._books = [sorted({path[level] for path in paths if len(path) > level}) for level in range(self.config.levels)]
        return self._numbers(paths), [1 + len(book) for book in self._books]

    def _place(self, items: int, taken: ItemCodes) -> ItemCodes:
        return assign_new(self._numbers([self._path(names) for names in self._categories(items)]), taken)

    def _learned(self) -> dict[str, Any]:
        return {"ranks": self._ranks, "books": self._books}

    def _restore(self, learned: Mapping[str, Any]) -> None:
        self._ranks, self._books = dict(learned["ranks"]), list(learned["books"])

    def _path(self, names: Sequence[str]) -> list[str]:
        if self.config.order == "common":
            names = sorted(set(names), key=lambda name: self._ranks.get(name, len(self._ranks)))
        return list(names)[: self.config.levels]

    def _numbers(self, paths: Sequence[Sequence[str]]) -> np.ndarray:
        codes = [{name: 1 + code for code, name in enumerate(book)} for book in self._books]
        table = np.full((len(paths), self.config.levels), NONE, dtype=np.int64)
        for row, path in enumerate(paths):
            for level, name in enumerate(path):
                table[row, level] = codes[level].get(name, NONE)
        return table

    def _categories(self, items: int) -> list[list[str]]:
        """Categories of each bound item as texts."""
        if self._bound is None:
            raise UserError("category ids need to know the items; call bind(item_ids, catalogue) before fit or assign")
        ids, catalogue = self._bound
        if catalogue is None:
            raise DataError("category ids need a catalogue; give a folder with an items file that has a column of categories")
        if len(ids) != items:
            raise UserError(f"{items} rows of vectors for {len(ids)} bound items; bind the items that the rows belong to")
        kinds = [name for wanted in ("list", "category") for name, kind in catalogue.kinds.items() if kind == wanted]
        if not kinds:
            raise DataError("the catalogue has no column of categories, such as `genres`; add one, or take another tokenizer")
        column = self.config.column or kinds[0]
        if column not in kinds:
            raise DataError(f"the catalogue has no column of categories `{column}`; {suggestion(column, kinds)}")
        single = catalogue.kinds[column] != "list"
        texts = pl.col(column).cast(pl.String).reshape((-1, 1)).arr.to_list() if single else pl.col(column).cast(pl.List(pl.String))
        rows = dict(catalogue.frame.select("item_id", texts.alias("names")).iter_rows())
        return [[name for name in (rows.get(item) or []) if name] for item in ids.to_list()]
