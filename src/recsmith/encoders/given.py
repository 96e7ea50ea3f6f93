"""Item vectors that somebody made elsewhere: of pictures, sound, a graph, or by a model that we do not have. One Parquet file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from recsmith.errors import DataError


def given_vectors(path: str | Path, item_ids: pl.Series) -> np.ndarray:
    """Vectors of `item_ids` from a Parquet file with columns `item_id` and `vector` (a list of numbers), float32 `[item, dim]` of length 1.

    Items that the file does not have get zeros, so that they resemble nothing. Raises `DataError` when the file is missing, is no such
    table, has vectors of different lengths or numbers that are not finite, or knows none of the items.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no file `{path}` with item vectors; give a Parquet file with the columns `item_id` and `vector`")
    try:
        frame = pl.read_parquet(path)
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"`{path}` cannot be read as Parquet ({error}); give a Parquet file with the columns `item_id` and `vector`"
        ) from None
    missing = {"item_id", "vector"} - set(frame.columns)
    if missing:
        raise DataError(f"`{path}` has no column `{missing.pop()}`; it has {', '.join(f'`{name}`' for name in frame.columns)}")
    frame = frame.with_columns(pl.col("item_id").cast(item_ids.dtype, strict=False), pl.col("vector").cast(pl.List(pl.Float32)))
    lengths = frame["vector"].list.len().unique().to_list()
    if len(lengths) != 1 or frame["item_id"].is_duplicated().any():
        raise DataError(f"`{path}` needs one vector per item, all of one length; it has lengths {sorted(lengths, key=str)[:5]}")
    wanted = item_ids.rename("item_id").to_frame().join(frame.with_row_index("row"), on="item_id", how="left", maintain_order="left")
    rows = wanted["row"].to_numpy()
    known = ~wanted["row"].is_null().to_numpy()
    if not known.any():
        raise DataError(f"`{path}` has a vector for none of the {len(item_ids):,} items; are its item ids those of the log?")
    table = np.array(frame["vector"].to_list(), dtype=np.float32)
    vectors = np.zeros((len(item_ids), table.shape[1]), dtype=np.float32)
    vectors[known] = table[rows[known].astype(np.int64)]
    if not np.isfinite(vectors).all():
        raise DataError(f"`{path}` holds numbers that are not finite; leave such items out")
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
