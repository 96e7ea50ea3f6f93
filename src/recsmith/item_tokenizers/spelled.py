"""`SpelledTokenizer`: ids that are words — the same pieces wherever they stand, an end, and no two items alike."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from recsmith.data import Catalogue, ItemCodes
from recsmith.errors import DataError, UserError
from recsmith.item_tokenizers.plain import PlainTokenizer
from recsmith.protocols import Progress

Row = tuple[int, ...]
END = 0
"""Code that ends an id."""


class SpelledTokenizer(PlainTokenizer):
    """Items → pieces of words. Every level but the last numbers the same pieces, shorter ids are filled with `END`.

    A subclass learns the pieces (`_learn`), says what they spell (`_words`), and writes ids (`_written`); `_number` spells a number, which
    tells items apart whose ids are equal. So the collision level is always 0, and a model over words can leave it out.
    """

    _levels = 0
    _numbered = 0

    @abstractmethod
    def _learn(self, items: int, *, seed: int) -> None:
        """Make the pieces from what the tokenizer was told about the items."""

    @abstractmethod
    def _words(self) -> tuple[str, ...]:
        """What each code spells; that of `END` is empty."""

    @abstractmethod
    def _written(self, items: int) -> list[Row]:
        """The pieces of each bound item, at least one and of any length, without `END`."""

    @abstractmethod
    def _number(self, number: int) -> Row:
        """The pieces of a number."""

    @property
    def longest(self) -> int:
        """Pieces of an id, at most."""
        return int(self.config.longest)

    def fit(self, vectors: np.ndarray, *, seed: int, progress: Progress | None = None) -> ItemCodes:
        """Ids of as many items as `vectors` has rows, all distinct, with the words that they are made of."""
        codes = super().fit(vectors, seed=seed, progress=progress)
        self._figures |= {"numbered to be told apart": self._numbered}
        return replace(codes, words=self._words())

    def _index(self, items: int, *, seed: int) -> tuple[np.ndarray, Sequence[int]]:
        self._learn(items, seed=seed)
        written = self._written(items)
        rows = told_apart(written, longest=self.longest, number=self._number)
        self._numbered = sum(row != own[: self.longest] for row, own in zip(rows, written, strict=True))
        self._levels = max(map(len, rows), default=0) + 1
        return self._filled(rows), [len(self._words())] * self._levels

    def _place(self, items: int, taken: ItemCodes) -> ItemCodes:
        return self._placed(self._written(items), taken)

    def _placed(self, written: Sequence[Row], taken: ItemCodes) -> ItemCodes:
        """Ids as `written`, told apart from each other and from those `taken`."""
        used = [tuple(code for code in row if code != END) for row in taken.table[:, :-1].tolist()]
        rows = told_apart(written, longest=self._levels - 1, number=self._number, taken=used)
        return ItemCodes(np.column_stack([self._filled(rows), np.zeros(len(rows), dtype=np.int64)]), taken.sizes, taken.words)

    def _item_texts(self, count: int, template: str | None, *, what: str) -> list[str]:
        """A text of each bound item, by default its title; the raw id where there are no words. Raises `DataError` without titles."""
        ids, catalogue = self._items(count)
        if catalogue is None or (template is None and catalogue.title_column is None):
            raise DataError(
                f"{what} are made of item titles, and there are none; give a folder with an items file that has a column `title`"
            )
        texts = self._told(ids, catalogue, template or f"{{{catalogue.title_column}}}")
        return [text or f"item {item}" for text, item in zip(texts, ids, strict=True)]

    def _filled(self, rows: Sequence[Row]) -> np.ndarray:
        table = np.full((len(rows), self._levels), END, dtype=np.int64)
        for place, row in enumerate(rows):
            table[place, : len(row)] = row
        return table

    def _learned(self) -> dict[str, Any]:
        return {"levels": self._levels}

    def _restore(self, learned: Mapping[str, Any]) -> None:
        self._levels = int(learned["levels"])

    def _items(self, count: int) -> tuple[pl.Series, Catalogue | None]:
        """The bound items. Raises `UserError` when there are none, or others than the rows."""
        if self._bound is None:
            raise UserError(f"{type(self).__name__} looks items up and knows none; call bind(item_ids, catalogue) before fit or assign")
        if len(self._bound[0]) != count:
            raise UserError(f"{count} rows of vectors for {len(self._bound[0])} bound items; bind the items that the rows belong to")
        return self._bound


def told_apart(written: Sequence[Row], *, longest: int, number: Callable[[int], Row], taken: Iterable[Row] = ()) -> list[Row]:
    """The rows cut to `longest` pieces; where one is taken already, the pieces of the first free number from 2 on end it.

    Raises `UserError` when ids are too short to tell the items apart.
    """
    used, found = set(taken), []
    for row in written:
        own, count = row[:longest], 1
        while own in used:
            count += 1
            told = number(count)
            if len(told) > longest or count > len(used) + 1:
                raise UserError(f"ids of {longest} pieces are too short to tell {len(written)} items apart; set `tokenizer.longest` higher")
            own = (*row[: longest - len(told)], *told)
        used.add(own)
        found.append(own)
    return found
