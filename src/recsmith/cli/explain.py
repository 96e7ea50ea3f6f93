"""`recsmith explain`: which events and codes carry an item, by leaving each event out in turn."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from recsmith.cli import display, options
from recsmith.errors import UserError

if TYPE_CHECKING:
    from recsmith.evidence import Evidence

app = typer.Typer(add_completion=False)


@app.command()
def explain(
    run: options.Run,
    item: Annotated[str, typer.Option("--item", metavar="ID", help="The item to explain.")],
    user: Annotated[str | None, typer.Option("--user", metavar="ID", help="A user of the log.")] = None,
    history: Annotated[
        list[str] | None,
        typer.Option("--history", metavar="ID,…", help="Item ids, oldest first, instead of a user. Repeats, for ids that hold a comma."),
    ] = None,
    last: Annotated[int, typer.Option("--last", help="Events that are left out in turn, the most recent ones.")] = 50,
    as_json: options.Json = False,
) -> None:
    """Say what carries an item for somebody: each event of the history is left out once, and the model is asked again.

    Example: recsmith explain runs/tiger-ml --user 1 --item 260

    Example: recsmith explain runs/sasrec-ml --history 1,50 --item 260 --last 10
    """
    if (user is None) == (history is None):
        raise UserError("say for whom, with exactly one of --user ID or --history a,b,c; example: --user 1 --item 260")
    from recsmith.cli.recommend import history_ids, signature
    from recsmith.recommender import load

    recommender = load(run)
    found = recommender.explain(item, user=user, history=None if history is None else history_ids(recommender, history), last=last)
    if as_json:
        display.print_json({**asdict(found), **signature(recommender)})
    else:
        _show(found)
        for name in signature(recommender).values():
            display.say(f"Language model: {name}")


def _show(found: Evidence) -> None:
    place = "" if found.rank is None else f", place {found.rank} of the catalogue"
    score = "none" if found.score is None else f"{found.score:.4g}"
    display.say(f"{found.title or 'no title'}  [{found.item_id}]: {found.measure} {score}{place}")
    display.say()
    lines = [[event.position, event.title or "no title", str(event.item_id), event.change, event.rank_without] for event in found.events]
    headings = ["event", "title", "item", f"{found.measure} it gives", "place without it"]
    display.print_table(headings, lines, title="What carries it, by leaving each event out")
    if found.codes:
        display.say()
        codes = [[code.level, code.code, code.log_probability] for code in found.codes]
        display.print_table(["level", "code", "log-probability"], codes, title="The codes by which it is generated")
