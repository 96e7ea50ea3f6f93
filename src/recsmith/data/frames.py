"""Tables from outside (Polars, pandas, Arrow, dictionaries) as `polars.DataFrame`, and a content hash of tables."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import polars as pl

from recsmith.errors import DataError, UserError

_HASH_ROWS = 1 << 18


def as_frame(table: Any, *, what: str) -> pl.DataFrame:
    """Any table as `polars.DataFrame`; `what` names it in errors."""
    if isinstance(table, pl.DataFrame):
        return table
    if isinstance(table, pl.LazyFrame):
        return table.collect()
    try:
        if isinstance(table, Mapping):
            return pl.DataFrame(dict(table))
        if hasattr(table, "__arrow_c_stream__"):
            return pl.DataFrame(table)
        if hasattr(table, "__dataframe__"):
            return pl.from_dataframe(table)
    except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise DataError(
            f"{what} cannot be read as a table: {str(error).splitlines()[0]}; give columns of equal length and one type"
        ) from None
    raise UserError(
        f"{what} of type `{type(table).__name__}` is not a table; give a Polars, pandas or Arrow table, or a dictionary of columns"
    )


def content_hash(frames: Mapping[str, pl.DataFrame | None]) -> str:
    """Hexadecimal digest of names, types and values; does not depend on how rows are chunked in memory."""
    digest = hashlib.blake2b(digest_size=16)
    for name, frame in frames.items():
        if frame is None:
            continue
        digest.update(f"{name}:{frame.height}".encode())
        for column in frame.get_columns():
            digest.update(f"|{column.name}:{column.dtype}|".encode())
            for start in range(0, len(column), _HASH_ROWS):
                _hash_values(column.slice(start, _HASH_ROWS), digest)
    return digest.hexdigest()


def _hash_values(values: pl.Series, digest: Any) -> None:
    if values.null_count():
        digest.update(values.is_null().to_numpy().tobytes())
    if isinstance(values.dtype, pl.List):
        digest.update(values.list.len().fill_null(0).to_numpy().tobytes())
        _hash_values(values.explode(empty_as_null=False, keep_nulls=False), digest)
    elif isinstance(values.dtype, pl.Array | pl.Struct | pl.Object):
        digest.update(str(values.to_list()).encode())
    elif values.dtype.is_numeric() or values.dtype.is_temporal() or values.dtype == pl.Boolean:
        digest.update(values.to_physical().fill_null(0).to_numpy().tobytes())
    else:
        text = values.cast(pl.String).fill_null("")
        digest.update(text.str.len_bytes().to_numpy().tobytes())
        digest.update(str(text.str.join("").item() if len(text) else "").encode())
