"""`Vocabulary`: raw ids (text or integers) ↔ indices 0 … n-1, in ascending order of the raw id unless it was extended later."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

RawId = int | str


class Vocabulary:
    """A bijection. Order is ascending raw id, so "ties by the smaller index" reads "ties by the smaller id"."""

    def __init__(self, ids: pl.Series | Iterable[RawId]) -> None:
        series = ids if isinstance(ids, pl.Series) else _series(ids)
        self._ids = series.drop_nulls().unique().sort().rename("id")

    @classmethod
    def in_order(cls, ids: pl.Series) -> Vocabulary:
        """A vocabulary that keeps the order of `ids`, which must be distinct: for reading back one that was extended."""
        vocabulary = cls.__new__(cls)
        vocabulary._ids = ids.rename("id")
        return vocabulary

    def extended(self, ids: pl.Series) -> Vocabulary:
        """This vocabulary with further ids behind, in ascending order, so that every index stays what it was."""
        given = self.series(ids)
        both = self._ids if given.dtype == self._ids.dtype else self._ids.cast(pl.String)
        new = given.filter(~given.is_in(both.implode())).unique().sort()
        return Vocabulary.in_order(pl.concat([both, new.rename("id")]))

    def __len__(self) -> int:
        return len(self._ids)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self._ids.equals(other._ids)

    def __hash__(self) -> int:
        return hash((len(self._ids), str(self._ids.dtype)))

    def __contains__(self, raw_id: object) -> bool:
        return self.index(raw_id) >= 0

    @property
    def ids(self) -> pl.Series:
        """All raw ids; position = index."""
        return self._ids

    @property
    def dtype(self) -> pl.DataType:
        """`Int64` or `String`."""
        return self._ids.dtype

    @cached_property
    def _positions(self) -> dict[Any, int]:
        return {raw: position for position, raw in enumerate(self._ids.to_list())}

    def index(self, raw_id: object) -> int:
        """Index of one raw id, -1 when unknown; `1` and `"1"` name the same id."""
        position = self._positions.get(raw_id)
        if position is None:
            position = self._positions.get(_cast_one(raw_id, self._ids.dtype))
        return -1 if position is None else position

    def indices(self, raw_ids: pl.Series | Iterable[Any]) -> np.ndarray:
        """Indices int64 of many raw ids, -1 where unknown."""
        series = raw_ids if isinstance(raw_ids, pl.Series) else _series(raw_ids)
        if len(series) < 1000:
            return np.array([self.index(raw) for raw in series.to_list()], dtype=np.int64)
        wanted = series.cast(self._ids.dtype, strict=False).rename("id").to_frame()
        known = self._ids.to_frame().with_row_index("index")
        joined = wanted.join(known, on="id", how="left", maintain_order="left")
        return joined["index"].cast(pl.Int64).fill_null(-1).to_numpy()

    def series(self, raw_ids: Iterable[Any]) -> pl.Series:
        """Raw ids as a column: of this vocabulary's type where all of them fit it, else as text."""
        given = list(raw_ids)
        cast = [_cast_one(raw_id, self._ids.dtype) for raw_id in given]
        if any(value is None for value in cast):
            return pl.Series("id", [str(raw_id) for raw_id in given], dtype=pl.String)
        return pl.Series("id", cast, dtype=self._ids.dtype)

    def raw(self, indices: np.ndarray) -> pl.Series:
        """Raw ids of indices (all must be ≥ 0)."""
        return self._ids.gather(np.asarray(indices, dtype=np.int64).reshape(-1))


def _series(ids: Iterable[Any]) -> pl.Series:
    values = [value.item() if isinstance(value, np.generic) else value for value in ids]
    if all(isinstance(value, int) for value in values):
        return pl.Series("id", values, dtype=pl.Int64)
    return pl.Series("id", [None if value is None else str(value) for value in values], dtype=pl.String)


def _cast_one(raw_id: object, dtype: pl.DataType) -> RawId | None:
    if dtype == pl.String:
        return None if raw_id is None else str(raw_id)
    try:
        return int(str(raw_id))
    except ValueError:
        return None
