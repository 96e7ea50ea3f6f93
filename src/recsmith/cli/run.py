"""`recsmith run`: fit, evaluate and write the card."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from recsmith.cli import display, language_costs, options

if TYPE_CHECKING:
    from recsmith.data import Dataset
    from recsmith.recipe import Recipe

app = typer.Typer(add_completion=False)

JSON_KEYS = ("run", "recipe", "data", "protocol", "split", "metrics", "validation", "reported", "seconds", "seeds")
"""Parts of a card that `--json` prints; the whole card stands in the run folder."""

SET_COLUMNS = ("Recall@", "NDCG@", "Coverage@")
"""Metrics that the table of a set of recipes shows."""


@app.command()
def run(
    recipe: options.Recipe,
    data: options.Data,
    out: options.Out,
    columns: options.Columns = None,
    settings: options.Settings = None,
    seed: options.Seed = 0,
    as_json: options.Json = False,
) -> None:
    """Fit a recipe, evaluate it on validation and test, and print ours / paper / difference; or do so for a named set of recipes.

    Ctrl-C keeps the best weights so far; the same command again goes on where it stopped. Sets: `baselines`, `all-interaction`.

    With `--set model.backend.dry_run=true` a language model is asked nothing and nothing is written: it is said what it would cost.

    Example: recsmith run tiger --data ml-latest-small --out runs/tiger-ml
    """
    from recsmith import fitting
    from recsmith.recipe import load_recipe
    from recsmith.recipe_files import set_names

    if recipe in set_names():
        _run_set(recipe, data, out, columns=columns, settings=settings, seed=seed, as_json=as_json)
        return
    chosen = load_recipe(recipe, settings=options.parse_settings(settings))
    source = options.read_data(data, columns)
    if chosen.dry_run:
        _rehearse(chosen, source, seed=seed, as_json=as_json)
        return
    with display.showing_progress() as progress:
        card = fitting.run(chosen, source, out=out, seed=seed, progress=progress, message=progress.message, command=options.command_line())
    if as_json:
        display.print_json({key: card.get(key) for key in JSON_KEYS})
    else:
        show_result(card)
    language_costs.note_failures(card.get("language", {}))


def _rehearse(recipe: Recipe, data: Dataset, *, seed: int, as_json: bool) -> None:
    from recsmith.rehearsal import rehearse

    with display.showing_progress() as progress:
        cost = rehearse(recipe, data, seed=seed, progress=progress)
    if as_json:
        display.print_json({"run": None, "recipe": recipe.name, "dry_run": cost})
        return
    display.say(f"{language_costs.would_ask(cost)}; nothing was asked, and nothing was written")


def _run_set(name: str, data: str, out: Path, *, columns: str | None, settings: list[str] | None, seed: int, as_json: bool) -> None:
    from recsmith.run_set import run_set

    chosen = options.parse_settings(settings)
    source = options.read_data(data, columns)
    with display.showing_progress() as progress:
        rows = run_set(
            name,
            source,
            out=out,
            seed=seed,
            settings=chosen,
            progress=progress,
            message=progress.message,
            each=lambda row: progress.message(f"{row.recipe}: {row.failure or 'done'}"),
            command=options.command_line(),
        )
    if as_json:
        display.print_json([asdict(row) for row in rows])
        return
    shown = display.main_metrics(next((row.metrics for row in rows if row.metrics), {}))
    names = [name for name in shown if name.startswith(SET_COLUMNS)]
    lines = [
        [row.title, *(row.metrics.get(metric) for metric in names), None if row.seconds is None else display.duration(row.seconds)]
        for row in rows
    ]
    display.print_table(["system", *names, "fit"], lines, title=f"{name} on {source.name}, test")
    for row in rows:
        if row.failure:
            display.note(f"{row.recipe}: {row.failure}")
    display.say(f"written to `{out}`, with a picture in cost.png; next: recsmith report {out}/* --out report.html")


def show_result(card: dict[str, Any]) -> None:
    """The result of a run as a table, and where to go from there."""
    published = card.get("reported", {})
    rows = published.get("rows", {})
    shown = {*display.main_metrics(card["metrics"]), *rows}
    lines = [
        [name, card["validation"].get(name), card["metrics"][name], rows.get(name, {}).get("paper"), rows.get(name, {}).get("difference")]
        for name in card["metrics"]
        if name in shown
    ]
    facts = card["data"]
    title = f"{card['title']} on {facts['name']}: {facts['users']:,} users, {facts['items']:,} items, {facts['events']:,} events"
    display.print_table(["metric", "validation", "test: ours", "paper", "difference"], lines, title=title)
    display.say(f"paper: {published['source']}" if rows else "paper: no published figure for this system on this data")
    ranking = "ratings of held-out pairs" if "RMSE" in card["metrics"] else "ranked over the full catalogue"
    display.say(f"protocol: {card['protocol']['name']}, {ranking}; {sum_of(card['seconds'])}")
    display.say(f"written to `{card['run']}`, with all metrics in card.md; next: recsmith recommend {card['run']} --user ID")


def sum_of(seconds: dict[str, float]) -> str:
    """`fit 12 s, evaluate test 0.4 s`."""
    return ", ".join(f"{name} {display.duration(value)}" for name, value in seconds.items())
