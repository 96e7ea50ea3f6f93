"""`ItemTable`: the catalogue's columns in the order of the item indices, as business rules read them."""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np
import polars as pl

from recsmith.data import Catalogue, Histories, RawId, Vocabulary, offsets_of
from recsmith.errors import UserError, suggestion


class ItemTable:
    """One row per item index. Columns are put in order once and then kept, so asking again costs nothing."""

    def __init__(self, items: Vocabulary, catalogue: Catalogue | None = None, *, now: float | None = None) -> None:
        """`now`: seconds since the epoch that freshness counts from; None asks the clock at every question."""
        self.items = items
        self._now = now
        wanted = pl.DataFrame({"item_id": items.ids})
        self._frame = wanted if catalogue is None else catalogue.rows(items.ids)
        self._groups: dict[str, Histories] = {}

    def __len__(self) -> int:
        return len(self.items)

    @property
    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time() if self._now is None else self._now

    def updated(self, frame: pl.DataFrame) -> ItemTable:
        """The same table with newer values: `frame` has `item_id` and any columns; items that it does not hold keep theirs.

        For stock and prices that change faster than the model. Unknown items are skipped; a null does not replace a value.
        """
        names = [name for name in frame.columns if name != "item_id"]
        newer = frame.with_columns(pl.col("item_id").cast(self.items.dtype, strict=False)).unique("item_id", keep="last")
        joined = self._frame.join(newer, on="item_id", how="left", suffix=" newer", maintain_order="left")
        both = [pl.coalesce(f"{name} newer", name).alias(name) for name in names if name in self._frame.columns]
        other = ItemTable(self.items, now=self._now)
        other._frame = joined.with_columns(both).drop([f"{name} newer" for name in names if name in self._frame.columns])
        return other

    def indices(self, ids: Iterable[RawId]) -> np.ndarray:
        """Indices of those of the raw ids that are known, int64."""
        index = self.items.indices(list(ids))
        return index[index >= 0]

    def column(self, name: str) -> pl.Series:
        """The values of a column, `[item]`. Raises `UserError` when the catalogue has none of that name."""
        if name == "item_id" or name not in self._frame.columns:
            names = [column for column in self._frame.columns if column != "item_id"]
            hint = suggestion(name, names) if names else "it has no columns; give a catalogue"
            raise UserError(f"the catalogue has no column `{name}` for a rule; {hint}")
        return self._frame[name]

    def numbers(self, name: str) -> np.ndarray:
        """A numeric column, float64 `[item]`, NaN where missing. Raises `UserError` when it holds something else."""
        series = self.column(name)
        if series.dtype != pl.Boolean and not series.dtype.is_numeric():
            raise UserError(f"a rule compares column `{name}` with numbers, but it holds {series.dtype}; name a numeric column")
        return series.cast(pl.Float64).fill_null(float("nan")).to_numpy()

    def seconds(self, name: str) -> np.ndarray:
        """A column of dates, times or seconds since the epoch, as seconds, float64 `[item]`, NaN where missing."""
        series = self.column(name)
        if series.dtype == pl.Date:
            series = series.cast(pl.Datetime("us"))
        if isinstance(series.dtype, pl.Datetime):
            series = series.dt.epoch("us").cast(pl.Float64) / 1e6
        elif series.dtype == pl.String:
            series = series.str.to_datetime(strict=False, time_unit="us").dt.epoch("us").cast(pl.Float64) / 1e6
        elif not series.dtype.is_numeric():
            raise UserError(f"a rule reads column `{name}` as times, but it holds {series.dtype}; give dates or seconds since the epoch")
        return series.cast(pl.Float64).fill_null(float("nan")).to_numpy()

    def is_one_of(self, name: str, values: Iterable[object]) -> np.ndarray:
        """Whether the value, or one value of a list, is among `values` (compared as text), bool `[item]`."""
        wanted = [str(value) for value in values]
        series = self.column(name)
        if isinstance(series.dtype, pl.List | pl.Array):
            asked = pl.element().cast(pl.String).is_in(wanted).any()
            found = series.to_frame().select(pl.col(name).list.eval(asked).list.first())[name]
        else:
            found = series.cast(pl.String).is_in(wanted)
        return found.fill_null(False).to_numpy()

    def groups(self, name: str) -> Histories:
        """Row i = numbers of the values of item i in a column: none where missing, several where it holds lists."""
        if name not in self._groups:
            series = self.column(name)
            pairs = pl.DataFrame({"item": np.arange(len(self)), "value": series})
            if isinstance(series.dtype, pl.List | pl.Array):
                pairs = pairs.explode("value", empty_as_null=True)
            pairs = pairs.drop_nulls().unique(maintain_order=True)
            numbers = pairs["value"].cast(pl.String).rank("dense").cast(pl.Int64).to_numpy() - 1
            lengths = np.bincount(pairs["item"].to_numpy(), minlength=len(self)).astype(np.int64)
            self._groups[name] = Histories(numbers, offsets_of(lengths))
        return self._groups[name]
