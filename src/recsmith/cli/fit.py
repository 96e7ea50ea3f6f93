"""`recsmith fit`: fit a recipe and write the run folder, without measuring it."""

from __future__ import annotations

import typer

from recsmith.cli import display, options

app = typer.Typer(add_completion=False)


@app.command()
def fit(
    recipe: options.Recipe,
    data: options.Data,
    out: options.Out,
    columns: options.Columns = None,
    settings: options.Settings = None,
    seed: options.Seed = 0,
    as_json: options.Json = False,
) -> None:
    """Fit a recipe on the training part of the data and write a run folder.

    Ctrl-C keeps the best weights so far; the same command again goes on where it stopped.

    Example: recsmith fit sasrec --data log.csv --columns user=customer_no,item=sku,time=ts --out runs/mine --set training.epochs=20
    """
    from recsmith import fitting
    from recsmith.recipe import load_recipe

    chosen = load_recipe(recipe, settings=options.parse_settings(settings))
    source = options.read_data(data, columns)
    with display.showing_progress() as progress:
        fitted = fitting.fit(
            chosen, source, out=out, seed=seed, progress=progress, message=progress.message, command=options.command_line()
        )
    seconds = fitted.card.get("seconds", {})
    if as_json:
        display.print_json({"run": str(out), "recipe": chosen.name, "data": fitted.card["data"], "seconds": seconds})
        return
    display.say(f"fitted {chosen.title} in {display.duration(sum(seconds.values()))}; written to `{out}`")
    display.say(f"next: recsmith evaluate {out}   or   recsmith recommend {out} --user ID")
