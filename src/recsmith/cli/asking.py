"""Options of the commands that measure runs: which cases, by which metric, in how many processes, and who the users are."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from recsmith.cli import display, options

if TYPE_CHECKING:
    import polars as pl

    from recsmith.data import SplitConfig

Split = Annotated[Literal["test", "validation"], typer.Option("--split", help="Which held-out events to predict.")]
Metric = Annotated[str, typer.Option("--metric", metavar="NAME", help="Any metric with a value per user, with its cutoff.")]
Jobs = Annotated[int | None, typer.Option("--jobs", metavar="N", help="Processes to measure with; default: one per core and run.")]
ShuffleTies = Annotated[int | None, typer.Option("--shuffle-ties", metavar="SEED", help="Also with events of equal time in random order.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Measure again, even what was measured before.")]
Force = Annotated[bool, typer.Option("--force", help="Show runs of different data or protocol too; they are marked.")]


def processes(jobs: int | None, runs: int) -> int:
    """The number of processes asked for, or one that fits the machine."""
    from recsmith.errors import UserError
    from recsmith.measurement import processes_for

    if jobs is not None and jobs < 1:
        raise UserError(f"--jobs {jobs} does not work; give a number of processes from 1, or leave it out")
    return processes_for(runs) if jobs is None else jobs


def parse_protocol(text: str | None) -> SplitConfig | None:
    """`ratio` or `global-temporal:test_share=0.2,validation_share=0.1`. Raises `ConfigError` for a name or key that does not exist."""
    from recsmith.config import parse_assignments
    from recsmith.data import SplitConfig

    if text is None:
        return None
    name, _, parameters = text.partition(":")
    return SplitConfig.parse({"name": name, **parse_assignments(list(filter(None, parameters.split(","))))}, where="protocol")


def parse_table_columns(text: str | None) -> dict[str, str] | None:
    """`user=customer,item=sku,rank=place` of a table of recommendations. Raises `UserError` for anything of another form."""
    from recsmith.errors import UserError

    if text is None:
        return None
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(role.strip() and equals and column.strip() for role, equals, column in pairs):
        raise UserError(f"--table-columns {text!r} is not of the form role=column,…; example: --table-columns user=u,item=sku,rank=place")
    return {role.strip(): column.strip() for role, _, column in pairs}


def users_of(run: Path, data: str | None, columns: str | None) -> pl.DataFrame | None:
    """What is known about the users of a run: from `--data`, else from the data that its command named, if they are still the same.

    Runs hold no attributes of people. None where nothing is known, with a note where the data cannot be found.
    """
    from recsmith.card_files import run_card
    from recsmith.errors import RecsmithError

    if data is not None:
        return options.read_data(data, columns).users
    card = run_card(run)
    named = _named_data(str(card.get("command") or ""))
    if named is None:
        return None
    try:
        found = options.read_data(*named)
    except (RecsmithError, OSError) as error:
        display.note(f"attributes of users are not known: {error}; give --data PATH")
        return None
    if found.hash != card.get("data", {}).get("hash"):
        display.note(f"attributes of users are not known: `{named[0]}` is not what `{run}` was fitted on any more; give --data PATH")
        return None
    return found.users


def _named_data(command: str) -> tuple[str, str | None] | None:
    """`--data` and `--columns` of a recorded command, with `$RECSMITH_DATA` filled in."""
    words = [os.path.expandvars(word) for word in shlex.split(command)]
    values: dict[str, str | None] = {"--data": None, "--columns": None}
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in values:
            values[name] = value if equals else next(iter(words[place + 1 :]), None)
    data = values["--data"]
    return None if data is None else (data, values["--columns"])
