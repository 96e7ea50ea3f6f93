"""`recsmith augment`: let a generator write extra training events beside a log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from recsmith.cli import display, options

app = typer.Typer(add_completion=False)


@app.command()
def augment(
    writer: Annotated[str, typer.Argument(metavar="WRITER", help="gan, diffuasr, diff4rec or llm4dsr.")],
    data: options.Data,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write: a prepared data set with the written events.")],
    recipe: Annotated[
        str, typer.Option("--for", metavar="RECIPE", help="Recipe whose view and split say which events are training; any model fits.")
    ] = "sasrec",
    columns: options.Columns = None,
    settings: options.Settings = None,
    seed: options.Seed = 0,
    as_json: options.Json = False,
) -> None:
    """Learn a generator on the training part of the data and write extra training events; what is held out stays as it is.

    `--set events=3` changes a setting of the writer, `--set view.min_rating=4` or `--set split.name=ratio` one of the recipe.

    Example: recsmith augment diffuasr --data ml-latest-small --out data/longer --set longest=10
    """
    from recsmith.augmentation import WRITERS
    from recsmith.augmentation import augment as write
    from recsmith.recipe import load_recipe

    chosen = options.parse_settings(settings)
    shared: dict[str, Any] = {key: chosen.pop(key) for key in ("view", "split") if key in chosen}
    plan = load_recipe(recipe, settings=shared)
    kind = WRITERS.get(writer)
    config = kind.Config.parse(chosen, where="augmentation")
    source = options.read_data(data, columns)
    with display.showing_progress() as progress:
        longer = write(source, kind(config), name=writer, view=plan.view, split=plan.split, seed=seed, progress=progress)
    longer.save(out)
    assert longer.written is not None
    facts = longer.written.facts
    if as_json:
        display.print_json({"folder": str(out), "name": longer.name, "hash": longer.hash, "augmentation": facts})
        return
    display.say(f"wrote `{out}`: {facts['events']:,} events for {facts['people']:,} people by {writer}, beside {len(longer):,} real ones")
    display.say(f"next: recsmith run {recipe} --data {out} --out runs/{recipe}-{writer}")
