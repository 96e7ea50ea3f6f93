"""`recsmith tune`: search a recipe's settings on the validation part and keep the best run with the search."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from recsmith.cli import display, options
from recsmith.cli.run import JSON_KEYS, show_result

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
    from recsmith.recipe import load_recipe
    from recsmith.tuning import tune as search

    chosen = load_recipe(recipe, settings=options.parse_settings(settings))
    source = options.read_data(data, columns)
    with display.showing_progress() as progress:
        card = search(chosen, source, out=out, trials=trials, hours=hours, seed=seed, progress=progress, command=options.command_line())
    if as_json:
        display.print_json({key: card.get(key) for key in (*JSON_KEYS, "search")})
    else:
        _show(card)


def _show(card: dict[str, Any]) -> None:
    found = card["search"]
    best = found["best"]
    changed = ", ".join(f"{name} = {value}" for name, value in best["parameters"].items()) or "the recipe's own settings"
    display.say(f"{found['done']} trials ({found['failed']} failed) in {display.duration(found['hours'] * 3600)}; ended: {found['ended']}")
    display.say(f"best {found['metric']} {best['value']:.4f} (the recipe as it is: {_number(found['default'])}) with {changed}")
    show_result(card)


def _number(value: float | None) -> str:
    return "failed" if value is None else f"{value:.4f}"
