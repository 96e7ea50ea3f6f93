"""`recsmith card`: show the model card of a run, check it against a stored one, write a note on it, pool the cards of several seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsmith.cli import display, options

app = typer.Typer(add_completion=False)

WORSE = 1
"""Exit code of `card check` when a figure fell by more than chance allows."""


@app.callback()
def card() -> None:
    """The model card of a run: show it, check it against a stored one, write a note on it, pool the cards of several seeds.

    Example: recsmith card show runs/tiger-ml
    """


@app.command()
def show(run: options.Run, as_json: options.Json = False) -> None:
    """Print the card: data, protocol, figures beside published ones, seeds, command, commit, hardware, cost, checks, deviations.

    Example: recsmith card show runs/tiger-ml
    """
    from recsmith.card import markdown
    from recsmith.card_files import run_card

    content = run_card(run)
    if as_json:
        display.print_json(content)
    else:
        display.print_markdown(markdown(content))


@app.command()
def check(
    run: options.Run,
    against: Annotated[
        Path | None, typer.Option("--against", metavar="CARD", help="Card or run to compare with; default: the card in recipes/cards.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Compare a new run with a stored card within the spread of its seeds. Exits 0 when nothing fell, 1 when something did, 2 on a mistake.

    Example: recsmith card check runs/sasrec-beauty
    """
    from recsmith.regression import check_card

    with display.showing_progress() as progress:
        found = check_card(run, against, progress=progress)
    if as_json:
        display.print_json(found.as_dict())
    else:
        rows = [[row.metric, row.stored, row.new, row.new - row.stored, row.allowed, row.verdict] for row in found.metrics]
        display.print_table(["metric", "card", "new run", "difference", "allowed", ""], rows)
        display.say(f"{found.run} against {found.card}; allowed: {found.spread}")
        if any(row.verdict == "better" for row in found.metrics):
            display.note("some figures are better than chance explains; the stored card is out of date")
    if found.worse:
        display.note(f"worse than the card: {', '.join(found.worse)}")
        raise typer.Exit(WORSE)


@app.command()
def note(
    card: Annotated[Path, typer.Argument(metavar="CARD", help="Folder of a run, or a card of its own (.json).")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What you found out, in quotes.")],
) -> None:
    """Write on a card what its figures do not say, for example why they are low; the date is added, the figures stay.

    Example: recsmith card note runs/cfgan "below popularity: the generator copies the most popular items"
    """
    from recsmith.card_files import add_note

    notes = add_note(card, text)["notes"]
    display.say(f"{len(notes)} {'note' if len(notes) == 1 else 'notes'} on the card of `{card}`")


@app.command()
def pool(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN…", help="Folders of runs that differ in their seed only.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Card to write, .json; a readable .md is written beside it.")],
    as_json: options.Json = False,
) -> None:
    """One card of several seeds: means, and the standard deviation over the seeds, which `card check` then allows.

    Example: recsmith card pool runs/sasrec-0 runs/sasrec-1 runs/sasrec-2 --out recipes/cards/sasrec-ml-latest-small.json
    """
    from recsmith.artifacts import write_json
    from recsmith.card import markdown
    from recsmith.errors import StorageError, UserError
    from recsmith.regression import pool_cards

    if out.suffix != ".json":
        raise UserError(f"--out `{out}` is not the name of a card; give a file that ends in .json")
    pooled = pool_cards(runs)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_json(out, pooled)
        out.with_suffix(".md").write_text(markdown(pooled), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write `{out}`: {error.strerror or error}; choose another place") from error
    if as_json:
        display.print_json(pooled)
    else:
        display.print_markdown(markdown(pooled))
