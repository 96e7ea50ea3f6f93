"""A stranger's table of recommendations: read it, check it, put it in order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from recsmith.data import validation
from recsmith.data.columns import canonical_ids
from recsmith.data.frames import as_frame
from recsmith.data.vocabulary import Vocabulary
from recsmith.errors import DataError, UserError, suggestion

ROLES = {"user": "user_id", "item": "item_id", "score": "score", "rank": "rank"}
"""Role (as in `columns={"user": …}`) → canonical column."""

_SEPARATORS = {".csv": ",", ".tsv": "\t"}


def read_recommendations(table: Any, columns: Mapping[str, str] | None = None) -> pl.DataFrame:
    """The table in columns `user_id, item_id` and `rank` or, where there are no ranks, `score`; rows in the table's order.

    `table` is a Polars, pandas or Arrow table, a dictionary of columns, or the path of a CSV, TSV (`.gz` too) or Parquet file. `columns`
    maps roles to other names: `{"user": "customer_no", "item": "sku"}`. Ranks win over scores where both are given.

    Raises `DataError`, naming file, row and column, for a missing file or column, missing ids, ranks that are not whole numbers from 1
    or occur twice for a user, and scores that are not numbers.
    """
    is_path = isinstance(table, str | Path)
    where = f"`{table}`" if is_path else "the table of recommendations"
    frame = _read_file(Path(table), where) if is_path else as_frame(table, what=where)
    names = _columns(frame, columns, where)
    validation.require_rows(frame, where=where)
    order = "rank" if "rank" in names else "score"
    result = pl.DataFrame(
        [
            canonical_ids(frame[names["user"]], name="user_id", where=where, column=names["user"]),
            canonical_ids(frame[names["item"]], name="item_id", where=where, column=names["item"]),
            _numbers(frame[names[order]], where).rename(order),
        ]
    )
    if order == "rank":
        _check_ranks(result, names["rank"], where)
    return result


def in_order(table: pl.DataFrame, items: Vocabulary) -> pl.DataFrame:
    """Rows sorted by user and rank, else by score, best first, equal scores by ascending item id; with `item` = index, -1 if unknown."""
    indexed = table.with_columns(pl.Series("item", items.indices(table["item_id"])))
    if "rank" in table.columns:
        return indexed.sort("user_id", "rank", maintain_order=True)
    # The index ascends with the id as the log types it ("10" after "9" where ids are integers); unknown items come after the known.
    keys = [pl.col("user_id"), pl.col("score"), pl.col("item") < 0, pl.col("item"), pl.col("item_id")]
    return indexed.sort(keys, descending=[False, True, False, False, False], maintain_order=True)


def _read_file(path: Path, where: str) -> pl.DataFrame:
    if not path.is_file():
        raise DataError(f"{where} is not a file; give a CSV, TSV or Parquet file with columns user_id, item_id and rank or score")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    kind = suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else "".join(suffixes[-1:])
    try:
        if kind == ".parquet":
            return pl.read_parquet(path)
        if kind in _SEPARATORS:
            return pl.read_csv(path, separator=_SEPARATORS[kind], infer_schema=False)
    except pl.exceptions.NoDataError:
        raise DataError(f"{where} is empty; give a file with columns user_id, item_id and rank or score") from None
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{where} cannot be read as {kind[1:].upper()}: {str(error).splitlines()[0]}; write it again") from None
    raise DataError(f"{where} is of a type that is not read here; allowed: .csv, .tsv (also .gz) and .parquet")


def _columns(frame: pl.DataFrame, columns: Mapping[str, str] | None, where: str) -> dict[str, str]:
    """Role → column, for user, item and those of rank and score that are there."""
    by_name = {name: role for role, name in ROLES.items()}
    given = {by_name.get(key, key): name for key, name in (columns or {}).items()}
    for role in given:
        if role not in ROLES:
            raise UserError(f"`{role}` is not a role a column can have; {suggestion(role, ROLES)}")
    names = {role: given.get(role, name) for role, name in ROLES.items()}
    for role in ["user", "item", *given]:
        validation.require_column(names[role], frame.columns, role=role, where=where)
    found = {role: name for role, name in names.items() if name in frame.columns}
    if "rank" not in found and "score" not in found:
        have = ", ".join(f"`{name}`" for name in frame.columns)
        raise DataError(f"{where} has neither a column `rank` nor `score` (it has {have}); one of them must say the order")
    return found


def _numbers(series: pl.Series, where: str) -> pl.Series:
    if not (series.dtype.is_numeric() or series.dtype == pl.String):
        raise validation.wrong_type(series.name, series.dtype, "numbers", where=where)
    numbers = series.cast(pl.Float64, strict=False)
    validation.require_converted(series, numbers, expected="a number", where=where)
    validation.require_no_nan(numbers, column=series.name, where=where, nulls_allowed=False)
    return numbers


def _check_ranks(table: pl.DataFrame, column: str, where: str) -> None:
    rank = table["rank"]
    wrong = (rank < 1) | (rank != rank.floor())
    if wrong.any():
        row = validation.first_row(wrong)
        raise DataError(f"{where}, row {row}, column `{column}`: rank {rank[row - 1]:g} is not allowed; ranks are whole numbers from 1")
    twice = table.select(pl.struct("user_id", "rank").is_first_distinct().not_()).to_series()
    if twice.any():
        row = validation.first_row(twice)
        raise DataError(
            f"{where}, row {row}, column `{column}`: user {table['user_id'][row - 1]!r} already has an item of rank {rank[row - 1]:g}; "
            "give each rank of a user once, or leave the column out and give scores"
        )
