"""Options that several commands share, and the reading of what people write behind `--data`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsmith.errors import UserError

if TYPE_CHECKING:
    from recsmith.data import Dataset

Recipe = Annotated[str, typer.Argument(metavar="RECIPE", help="Name of a recipe (see `recsmith systems`), or the path of a .toml file.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder that `recsmith run` or `recsmith fit` wrote.")]
Data = Annotated[
    str,
    typer.Option(
        "--data", metavar="PATH", help="File or folder of any known form, or built-in data: `world`, `world:users=2000,items=500`."
    ),
]
Columns = Annotated[
    str | None,
    typer.Option("--columns", metavar="ROLE=NAME,…", help="Which column means what: user=customer_no,item=sku,time=ts."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the recipe: --set training.epochs=5. Repeats."),
]
Out = Annotated[Path, typer.Option("--out", metavar="RUN", help="Folder to write the run to.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything random.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]

WORLD = "world"


def read_data(text: str, columns: str | None) -> Dataset:
    """What `--data` and `--columns` name. Raises `DataError` or `UserError` with one line."""
    from recsmith.data import Dataset, parse_columns

    name, colon, parameters = text.partition(":")
    if name == WORLD:
        if columns is not None:
            raise UserError("`--columns` is for raw files; the built-in world has columns of its own; leave it out")
        return _world(parameters if colon else "")
    return Dataset.from_path(text, columns=None if columns is None else parse_columns(columns))


def _world(text: str) -> Dataset:
    import inspect

    from recsmith.data import Dataset
    from recsmith.data.world import world
    from recsmith.errors import suggestion

    allowed = [name for name, parameter in inspect.signature(world).parameters.items() if parameter.annotation in (int, "int")]
    values: dict[str, int] = {}
    for part in filter(None, text.split(",")):
        key, _, value = (piece.strip() for piece in part.partition("="))
        if key not in allowed:
            raise UserError(f"the built-in world has no setting `{key}`; {suggestion(key, allowed)}")
        if not value.replace("_", "").isdigit():
            raise UserError(f"`{key}={value}` of the built-in world is not a whole number; example: world:users=2000,items=500")
        values[key] = int(value)
    return Dataset.from_world(**values)


def parse_settings(assignments: Sequence[str] | None) -> dict[str, Any]:
    """The nested settings that `--set` gives."""
    from recsmith.config import parse_assignments

    return parse_assignments(assignments or [])


def command_line() -> str:
    """This command as it can be typed again; it goes into the card."""
    return shlex.join(["recsmith", *sys.argv[1:]])
