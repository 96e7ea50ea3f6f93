"""`recsmith evaluate`: measure one run or many on the same cases, in one table; what was measured before is read again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from recsmith.cli import asking, display, options

if TYPE_CHECKING:
    from recsmith.data import Dataset
    from recsmith.measurement import MeasuredRun

app = typer.Typer(add_completion=False)


@app.command()
def evaluate(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN…", help="Folders that `recsmith run` or `recsmith fit` wrote.")],
    data: Annotated[
        str | None, typer.Option("--data", metavar="PATH", help="Other data, cut by the run's protocol; default: the run's own.")
    ] = None,
    columns: options.Columns = None,
    split: asking.Split = "test",
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol", metavar="NAME[:KEY=VALUE,…]", help="Another cut of the log; refused where a run trained on its targets."
        ),
    ] = None,
    shuffle_ties: asking.ShuffleTies = None,
    jobs: asking.Jobs = None,
    fresh: asking.Fresh = False,
    beam_gap: Annotated[
        int | None,
        typer.Option("--beam-gap", metavar="N", help="Also what the beams miss of the lists of the whole catalogue, over N people."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Ask even about events that a run was trained on; marked.")] = False,
    as_json: options.Json = False,
) -> None:
    """Full-catalogue metrics of one run, or of several side by side. With --json several runs give a list.

    Results are kept in the run folders, so the same command after Ctrl-C goes on with the runs that are missing.

    Example: recsmith evaluate runs/tiger-ml runs/sasrec-ml runs/popularity-ml --shuffle-ties 1
    """
    from recsmith.measurement import Question, measure_all

    other = None if data is None else options.read_data(data, columns)
    asked = Question(split=split, protocol=asking.parse_protocol(protocol), force=force)
    work: dict[str, Any] = {"data": other, "jobs": asking.processes(jobs, len(runs)), "fresh": fresh}
    gaps = [{}] * len(runs) if beam_gap is None else _beam_gaps(runs, beam_gap, split, own=data is None and protocol is None)
    with display.showing_progress() as progress:
        measured = measure_all(runs, asked, **work, progress=progress)
        shuffled = (
            [None] * len(runs) if shuffle_ties is None else measure_all(runs, asked.shuffled(shuffle_ties), **work, progress=progress)
        )
    results = [
        _result(run, other) | _shuffled(other_order, shuffle_ties) | gap
        for run, other_order, gap in zip(measured, shuffled, gaps, strict=True)
    ]
    for run in measured:
        for note in (*run.marks, *run.notes):
            display.note(f"{run.name}: {note}")
    if as_json:
        display.print_json(results[0] if len(results) == 1 else results)
    else:
        _show(results, split)


def _result(run: MeasuredRun, other: Dataset | None) -> dict[str, Any]:
    evaluation = run.evaluation.as_dict()
    facts = run.card.get("data", {}) if other is None else {"name": other.name, "hash": other.hash, "source": other.source}
    return {
        "run": run.name,
        "recipe": run.card.get("recipe"),
        "data": facts,
        "protocol": evaluation["protocol"],
        "split": evaluation["split"],
        "metrics": evaluation["metrics"],
        "figures": evaluation["figures"],
        "checks": evaluation["checks"],
        "cases": evaluation["cases"],
        "seconds": {"evaluate": evaluation["seconds"]},
        "stored": run.stored,
        "marks": list(run.marks),
    }


def _shuffled(run: MeasuredRun | None, seed: int | None) -> dict[str, Any]:
    if run is None:
        return {}
    evaluation = run.evaluation.as_dict()
    return {"ties_shuffled": {"seed": seed, "metrics": evaluation["metrics"], "cases": evaluation["cases"], "notes": list(run.notes)}}


def _beam_gaps(runs: list[Path], people: int, split: Literal["test", "validation"], *, own: bool) -> list[dict[str, Any]]:
    from recsmith.errors import UserError
    from recsmith.recommender import load
    from recsmith.search_gap import measure_search_gap

    if not own:
        raise UserError("--beam-gap asks about the people that a run itself held out; leave --data and --protocol out")
    return [{"beam_gap": measure_search_gap(load(run), people, split=split)} for run in runs]


def _show(results: list[dict[str, Any]], split: str) -> None:
    names = display.main_metrics(dict.fromkeys(name for result in results for name in result["metrics"]))
    headings = [result["run"] for result in results]
    display.print_table([split, *headings], [[name, *(result["metrics"].get(name) for result in results)] for name in names])
    shuffled = [result["ties_shuffled"] for result in results if "ties_shuffled" in result]
    if shuffled:
        rows = [[name, *(result["metrics"].get(name) for result in shuffled)] for name in names]
        display.print_table([split, *headings], rows, title=f"{split}, with ties shuffled (seed {shuffled[0]['seed']})")
    gaps = [result["beam_gap"] for result in results if "beam_gap" in result]
    if gaps:
        columns = [{"people": gap["cases"], "beams": gap["beams"], **gap["metrics"]} for gap in gaps]
        rows = [[name, *(column.get(name) for column in columns)] for name in dict.fromkeys(name for column in columns for name in column)]
        display.print_table(["beam gap", *headings], rows, title="what the beams miss of the lists of the whole catalogue")
    for result in results:
        known = ", measured before" if result["stored"] else ""
        name = result["data"].get("name")
        display.say(f"{result['run']}: {result['recipe']} on {name}, {_protocol(result)}, {result['cases']:,} cases{known}")
        for note in result.get("ties_shuffled", {}).get("notes", []):
            display.say(f"{result['run']}, {note}")
    if len({(result["data"].get("hash"), _protocol(result)) for result in results}) > 1:
        display.note("these runs were measured on different data or protocols; their figures cannot be compared")


def _protocol(result: dict[str, Any]) -> str:
    return str(result["protocol"].get("name"))
