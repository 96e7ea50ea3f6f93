"""`recsmith tune`: search a recipe's settings on the validation part and keep the best run with the search."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from recsmith.cli import display, options

app = typer.Typer(add_completion=False)


@app.command()
def tune(
    recipe: options.Recipe,
    data: options.Data,
    out: options.Out,
    trials: Annotated[int, typer.Option("--trials", min=1, help="Number of settings to try.")] = 20,
    hours: Annotated[float | None, typer.Option("--hours", min=0.0, help="Stop after this many hours, even with trials left.")] = None,
    columns: options.Columns = None,
    settings: options.Settings = None,
    seed: options.Seed = 0,
    as_json: options.Json = False,
) -> None:
    """Search the settings that the recipe's `search` section names; space, trials and best value are stored with the run.

    Example: recsmith tune sasrec --data amazon-beauty --out runs/sasrec-tuned --trials 20 --hours 2
    """
    from recsmith import fitting
    from recsmith.recipe import load_recipe

    chosen = load_recipe(recipe, settings=options.parse_settings(settings))
    source = options.read_data(data, columns)
    with display.showing_progress() as progress:
        found = fitting.tune(chosen, source, out=out, trials=trials, hours=hours, seed=seed, progress=progress)
    if as_json:
        display.print_json(found)
    else:
        _show(found, str(out))


def _show(found: dict[str, Any], out: str) -> None:
    display.say(f"{found}")
    display.say(f"written to `{out}`")
