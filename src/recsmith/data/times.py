"""Times of events as seconds since the epoch, whatever they were written as."""

from __future__ import annotations

import polars as pl

from recsmith.data import validation

_UNITS = ((1e17, 1e20, 1e9, "nanoseconds"), (1e14, 1e17, 1e6, "microseconds"), (1e11, 1e14, 1e3, "milliseconds"))
"""From, to (of every value), divisor, name. As seconds these numbers would lie after the year 5000, so the unit is unambiguous."""

_FORMATS = ("%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d")


def to_seconds(series: pl.Series, *, where: str) -> tuple[pl.Series, str | None]:
    """Int64 or Float64 seconds, and a note when something was converted. Raises `DataError` naming the first row that is not a time."""
    if series.dtype == pl.String:
        return _from_text(series, where=where)
    if isinstance(series.dtype, pl.Datetime | pl.Date):
        validation.require_no_nulls(series, column=series.name, where=where)
        return _seconds_of(series), f"times in `{series.name}` converted from {series.dtype} to seconds since the epoch (UTC)"
    if not series.dtype.is_numeric():
        raise validation.wrong_type(series.name, series.dtype, "seconds since the epoch, dates or ISO times", where=where)
    return _from_numbers(series, where=where)


def _from_numbers(series: pl.Series, *, where: str) -> tuple[pl.Series, str | None]:
    validation.require_no_nan(series, column=series.name, where=where, nulls_allowed=False)
    numbers = series.cast(pl.Int64 if series.dtype.is_integer() else pl.Float64)
    low, high = numbers.min(), numbers.max()
    for start, stop, divisor, unit in _UNITS:
        if low is not None and float(low) >= start and float(high) < stop:  # type: ignore[arg-type]
            return numbers.cast(pl.Float64) / divisor, f"times in `{series.name}` are {unit}; converted to seconds"
    return numbers, None


def _from_text(series: pl.Series, *, where: str) -> tuple[pl.Series, str | None]:
    validation.require_no_nulls(series, column=series.name, where=where)
    for dtype in (pl.Int64, pl.Float64):
        numbers = series.cast(dtype, strict=False)
        if numbers.null_count() == 0:
            return _from_numbers(numbers, where=where)
    if numbers.null_count() < len(series) / 2:
        validation.require_converted(series, numbers, expected="a number of seconds", where=where)
    plain = series.str.strip_chars().str.replace("T", " ", literal=True).str.replace(r"(?i)z$|\s*utc$", "")
    instants = None
    for pattern in _FORMATS:
        parsed = plain.str.to_datetime(pattern, strict=False, time_unit="us", time_zone="UTC" if "%#z" in pattern else None)
        parsed = parsed.dt.replace_time_zone(None)
        instants = parsed if instants is None else instants.zip_with(instants.is_not_null(), parsed)
        if instants.null_count() == 0:
            break
    assert instants is not None
    validation.require_converted(
        series, instants, expected="seconds since the epoch or an ISO time such as 2024-05-31T12:00:00", where=where
    )
    return _seconds_of(instants), f"times in `{series.name}` converted from text to seconds since the epoch (UTC)"


def _seconds_of(instants: pl.Series) -> pl.Series:
    micros = instants.cast(pl.Datetime("us")).dt.timestamp("us")
    whole = micros % 1_000_000 == 0
    return micros // 1_000_000 if whole.all() else micros.cast(pl.Float64) / 1e6
