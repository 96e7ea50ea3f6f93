"""Lists for everybody into one file, in batches: memory stays flat, and the file appears whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from recsmith.errors import StorageError, UserError, suggestion

if TYPE_CHECKING:
    from recsmith.protocols import Progress
    from recsmith.recommender import Recommender

Sink = Callable[[pl.LazyFrame, Path], Any]

FORMATS: dict[str, Sink] = {
    ".parquet": lambda rows, path: rows.sink_parquet(path),
    ".csv": lambda rows, path: rows.sink_csv(path),
    ".jsonl": lambda rows, path: rows.sink_ndjson(path),
}
"""Suffix of the file → how its rows are written."""

BATCH = 4096
"""Users answered at a time."""


def check_format(out: Path) -> None:
    """Raises `UserError` for a file that does not end in one of `FORMATS`."""
    if out.suffix not in FORMATS:
        raise UserError(f"`{out}` ends in `{out.suffix}`; {suggestion(out.suffix, FORMATS)}")


def write_for_everybody(
    recommender: Recommender, out: Path, ask: Callable[..., pl.DataFrame], *, progress: Progress | None = None
) -> dict[str, Any]:
    """Write what `ask(users=…)` answers for every user of the log, one row per item. Raises `StorageError`, and `out` is then as it was."""
    beside = out.with_name(f".{out.name}.parts-{os.getpid()}")
    try:
        beside.mkdir(parents=True)
        rows = _write_parts(recommender, beside, ask, progress=progress)
        whole = beside / f"whole{out.suffix}"
        FORMATS[out.suffix](pl.scan_parquet(beside / "part-*.parquet"), whole)
        whole.replace(out)
    except (OSError, pl.exceptions.PolarsError) as error:
        kept = "the file that was there is unchanged" if out.exists() else "nothing was written"
        raise StorageError(f"cannot write `{out}`: {error}; {kept}; free some space or choose another place") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return {"file": str(out), "users": len(recommender.log.users), "rows": rows}


def _write_parts(recommender: Recommender, folder: Path, ask: Callable[..., pl.DataFrame], *, progress: Progress | None) -> int:
    everybody = recommender.log.users.ids
    rows = 0
    for start in range(0, len(everybody), BATCH):
        if progress is not None:
            progress("recommending", start, len(everybody))
        lists = ask(users=everybody[start : start + BATCH].to_list())
        lists.write_parquet(folder / f"part-{start:012d}.parquet")
        rows += lists.height
    return rows
