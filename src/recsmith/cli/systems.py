"""`recsmith systems`: every system of the field, its recipe, its paper, and what it reached here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from recsmith.cli import display, options

if TYPE_CHECKING:
    from recsmith.systems import System

app = typer.Typer(add_completion=False)

SHOWN_METRICS = ("Recall@10", "NDCG@10")


@app.command()
def systems(
    everything: Annotated[bool, typer.Option("--all", help="List every system, the planned ones too.")] = False,
    group: Annotated[int | None, typer.Option("--group", metavar="N", help="List all systems of one group, 1 to 16.")] = None,
    as_json: options.Json = False,
) -> None:
    """What works, what is partial, what is planned, group by group; with --json every system.

    Example: recsmith systems --group 3
    """
    from recsmith.errors import UserError
    from recsmith.systems import GROUPS
    from recsmith.systems import systems as all_systems

    if group is not None and group not in GROUPS:
        raise UserError(f"there is no group {group}; allowed: {min(GROUPS)} to {max(GROUPS)}, as `recsmith systems` lists them")
    rows = [row for row in all_systems() if group is None or row.group == group]
    if as_json:
        display.print_json([row.as_dict() for row in rows])
    elif everything or group is not None:
        _list(rows)
    else:
        _overview(rows)


def _overview(rows: list[System]) -> None:
    from recsmith.systems import GROUPS, summary

    counts = summary(rows)
    lines = [[group, GROUPS[group], count["works"], count["partial"], count["planned"]] for group, count in counts.items()]
    display.print_table(["group", "", "works", "partial", "planned"], lines)
    ready = [row for row in rows if row.status != "planned"]
    display.print_table(["system", "recipe", "status", "reached here (test)", "paper"], [_ready(row) for row in ready])
    display.say("works: a recipe, and a card on data of at least 5,000 users; partial: a recipe only. --all or --group N lists the rest.")


def _list(rows: list[System]) -> None:
    from recsmith.systems import SURVEYS

    display.print_table(
        ["id", "system", "status", "recipe", "paper"], [[row.id, row.name, row.status, row.recipe, row.paper] for row in rows]
    )
    for short, full in SURVEYS.items():
        display.say(f"{short} = {full}")


def _ready(row: System) -> list[str | None]:
    reached = [
        f"{data}: " + ", ".join(f"{name} {metrics[name]:.4f}" for name in SHOWN_METRICS if name in metrics)
        for data, metrics in row.reached.items()
    ]
    return [row.name, row.recipe, row.status, "; ".join(reached), row.paper]
