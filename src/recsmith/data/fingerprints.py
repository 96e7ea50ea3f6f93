"""Short hashes that say whether two things are the same: ids, texts, item codes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import polars as pl

from recsmith.data.codes import ItemCodes

_LENGTH = 16
"""Hexadecimal digits of a fingerprint."""


def fingerprint(texts: pl.Series | Iterable[str]) -> str:
    """Of texts (or ids, taken as text) in their order."""
    series = texts if isinstance(texts, pl.Series) else pl.Series("text", list(texts), dtype=pl.String)
    values = series.cast(pl.String).rename("text").to_frame()
    lengths = pl.col("text").str.len_bytes().cast(pl.String)  # so that ["a", "bc"] and ["ab", "c"] differ
    marked = values.select(pl.concat_str(lengths, pl.lit(":"), pl.col("text"), ignore_nulls=True))["text"]
    digest = hashlib.sha256()
    for start in range(0, len(marked), 100_000):
        digest.update("".join(marked[start : start + 100_000].to_list()).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:_LENGTH]


def codes_fingerprint(codes: ItemCodes) -> str:
    """Of codes and level sizes."""
    digest = hashlib.sha256(repr(codes.sizes).encode())
    digest.update(codes.table.astype("<i8").tobytes())
    return digest.hexdigest()[:_LENGTH]
