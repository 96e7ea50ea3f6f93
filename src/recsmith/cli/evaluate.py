"""`recsmith evaluate`: measure one run or several on the same cases, in one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from recsmith.cli import display, options

app = typer.Typer(add_completion=False)


@app.command()
def evaluate(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN…", help="Folders that `recsmith run` or `recsmith fit` wrote.")],
    data: Annotated[
        str | None, typer.Option("--data", metavar="PATH", help="Other data, cut by the run's protocol; default: the run's own.")
    ] = None,
    columns: options.Columns = None,
    split: Annotated[Literal["test", "validation"], typer.Option("--split", help="Which held-out events to predict.")] = "test",
    as_json: options.Json = False,
) -> None:
    """Full-catalogue metrics of one run, or of several side by side. With --json several runs give a list.

    Example: recsmith evaluate runs/tiger-ml runs/sasrec-ml runs/popularity-ml
    """
    from recsmith.recommender import load

    other = None if data is None else options.read_data(data, columns)
    results = []
    with display.showing_progress() as progress:
        for run in runs:
            recommender = load(run)
            evaluation = recommender.evaluate(split, data=other, progress=progress).as_dict()
            results.append(_result(run, recommender.recipe.name, recommender.card, evaluation, other))
    if as_json:
        display.print_json(results[0] if len(results) == 1 else results)
    else:
        _show(results, split)


def _result(run: Path, recipe: str, card: dict[str, Any], evaluation: dict[str, Any], other: Any) -> dict[str, Any]:
    facts = card.get("data", {}) if other is None else {"name": other.name, "hash": other.hash, "source": other.source}
    return {
        "run": str(run),
        "recipe": recipe,
        "data": facts,
        "protocol": evaluation["protocol"],
        "split": evaluation["split"],
        "metrics": evaluation["metrics"],
        "figures": evaluation.get("figures", {}),
        "cases": evaluation["cases"],
        "seconds": {"evaluate": evaluation["seconds"]},
    }


def _show(results: list[dict[str, Any]], split: str) -> None:
    names = display.main_metrics(dict.fromkeys(name for result in results for name in result["metrics"]))
    rows = [[name, *(result["metrics"].get(name) for result in results)] for name in names]
    display.print_table([split, *(result["run"] for result in results)], rows)
    for result in results:
        display.say(f"{result['run']}: {result['recipe']} on {result['data'].get('name')}, {_protocol(result)}, {result['cases']:,} cases")
    if len({(result["data"].get("hash"), _protocol(result)) for result in results}) > 1:
        display.note("these runs were measured on different data or protocols; their figures cannot be compared")


def _protocol(result: dict[str, Any]) -> str:
    return str(result["protocol"].get("name"))
