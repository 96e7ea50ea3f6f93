"""Checks of raw data. Every problem is one `DataError` line naming the file, the row (1 = the first after the header) and the column."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl

from recsmith.errors import DataError, suggestion

_EXAMPLES = {
    "user": "--columns user=customer_no",
    "item": "--columns item=sku",
    "time": "--columns time=ts",
    "rating": "--columns rating=stars",
    "event": "--columns event=action",
    "session": "--columns session=visit",
}


def first_row(mask: pl.Series) -> int:
    """Row of the first true value, counted from 1."""
    position = mask.arg_max()
    assert position is not None
    return position + 1


def require_rows(frame: pl.DataFrame, *, where: str) -> None:
    """At least one row."""
    if frame.is_empty():
        raise DataError(f"{where} is empty: there is no row after the header; give a file with at least one event")


def require_column(column: str, available: Iterable[str], *, role: str, where: str) -> None:
    """`column` was asked for as `role` and exists."""
    names = list(available)
    if column not in names:
        have = ", ".join(f"`{name}`" for name in names)
        raise DataError(f"{where} has no column `{column}` (asked for as {role}); it has {have}; {suggestion(column, names)}")


def missing_role(role: str, available: Iterable[str], *, where: str) -> DataError:
    """No column could be recognised for a role that must be there."""
    have = ", ".join(f"`{name}`" for name in available)
    return DataError(f"{where} has no column that is known to hold the {role}; it has {have}; say which, for example {_EXAMPLES[role]}")


def wrong_type(column: str, dtype: Any, expected: str, *, where: str) -> DataError:
    """The column's type cannot be used."""
    return DataError(f"{where}, column `{column}`: has type {dtype}, but must hold {expected}; convert it or name another column")


def require_no_nulls(series: pl.Series, *, column: str, where: str) -> None:
    """No value is missing."""
    count = series.null_count()
    if count:
        row = first_row(series.is_null())
        raise DataError(f"{where}, row {row}, column `{column}`: the value is missing ({count:,} such rows); fill it in or remove the rows")


def require_no_nan(series: pl.Series, *, column: str, where: str, nulls_allowed: bool) -> None:
    """No NaN or infinite number, and no missing one unless allowed."""
    bad = pl.Series([False]).new_from_index(0, len(series)) if not series.dtype.is_float() else ~series.is_finite().fill_null(True)
    if not nulls_allowed and series.null_count():
        bad = bad | series.is_null()
    count = int(bad.sum())
    if count:
        row = first_row(bad)
        value = series[row - 1]
        shown = "missing" if value is None else {"nan": "NaN"}.get(str(value), str(value))
        raise DataError(
            f"{where}, row {row}, column `{column}`: the value is {shown}, not a number ({count:,} such rows); correct or remove the rows"
        )


def require_whole(series: pl.Series, *, column: str, where: str) -> None:
    """Ids that came as floating point numbers are whole."""
    bad = ~(series.is_finite() & (series == series.floor())).fill_null(True)
    if bad.any():
        row = first_row(bad)
        raise DataError(f"{where}, row {row}, column `{column}`: {series[row - 1]!r} is not an id; ids are integers or text")


def require_converted(before: pl.Series, after: pl.Series, *, expected: str, where: str) -> None:
    """Nothing was lost when `before` became `after`."""
    lost = after.is_null() & before.is_not_null()
    count = int(lost.sum())
    if count:
        row = first_row(lost)
        value = before[row - 1]
        raise DataError(
            f"{where}, row {row}, column `{before.name}`: {value!r} is not {expected} ({count:,} such rows); correct or remove the rows"
        )


def require_unique_items(ids: pl.Series, *, column: str, where: str) -> None:
    """No item stands twice in the catalogue."""
    later = ~ids.is_first_distinct()
    count = int(later.sum())
    if count:
        row = first_row(later)
        first = first_row(ids == ids[row - 1])
        raise DataError(
            f"{where}, row {row}, column `{column}`: item {ids[row - 1]!r} stands already in row {first} ({count:,} rows repeat an item); "
            "keep one row per item"
        )


def require_two_users(users: pl.Series, *, where: str) -> None:
    """A log of one person cannot be split or learned from."""
    if users.n_unique() < 2:
        raise DataError(f"{where} holds events of one user only ({users[0]!r}); at least 2 users are needed; is the right column the user?")


def require_known_items(log_ids: pl.Series, catalogue_ids: pl.Series, *, where: str) -> None:
    """Every item of the log stands in the catalogue."""
    unknown = ~log_ids.is_in(catalogue_ids.implode())
    count = int(unknown.sum())
    if count:
        row = first_row(unknown)
        distinct = log_ids.filter(unknown).n_unique()
        raise DataError(
            f"{where}, row {row}, column `item_id`: item {log_ids[row - 1]!r} is not in the catalogue "
            f"({distinct:,} such items, {count:,} events); go on with --set view.missing_items=drop (without these events) or =keep"
        )
