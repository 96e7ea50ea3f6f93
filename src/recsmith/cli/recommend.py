"""`recsmith recommend`: lists for users, for a history, or for everybody into a file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsmith.cli import display, options
from recsmith.errors import UserError

if TYPE_CHECKING:
    import polars as pl

    from recsmith.decoding import Selection
    from recsmith.recommender import Recommender

app = typer.Typer(add_completion=False)

Ask = Callable[..., "pl.DataFrame"]
"""`recommend` or `recommend_slate` of a run with everything said but for whom."""

ITEMS = 10
"""Length of a list when nothing is said about it."""
RECENT = 8
"""Events of a history that are shown above the recommendations."""


@app.command()
def recommend(
    run: options.Run,
    user: Annotated[list[str] | None, typer.Option("--user", metavar="ID", help="A user of the log. Repeats.")] = None,
    history: Annotated[
        list[str] | None,
        typer.Option("--history", metavar="ID,…", help="Item ids, oldest first; no such user needed. Repeats, for ids that hold a comma."),
    ] = None,
    users: Annotated[str | None, typer.Option("--users", metavar="all", help="Everybody in the log; needs --out.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="With --users all: .parquet, .csv or .jsonl, one row per item.")
    ] = None,
    k: Annotated[int | None, typer.Option("-k", help=f"Number of items per list; default {ITEMS}.")] = None,
    slate: Annotated[
        int | None,
        typer.Option("--slate", metavar="N", help="A slate (page, basket, bundle) of N items that know of each other, instead of a list."),
    ] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="Draw the items instead of taking the best; 1 = as probable as the model says.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Draw another list: another seed, another list.")] = None,
    diverse: Annotated[
        int | None,
        typer.Option("--diverse", metavar="GROUPS", help="Beams in groups that avoid each other's codes, for generating models."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Recommend items to users of the log, or to anybody by their history, with titles.

    Somebody about whom nothing is known gets the most popular items, and the command says so.

    Example: recsmith recommend runs/tiger-ml --user 1 -k 10

    Example: recsmith recommend runs/tiger-ml --history 1,50,260

    Example: recsmith recommend runs/tiger-ml --user 1 --temperature 0.8 --seed 2

    Example: recsmith recommend runs/list-cvae-ml --user 1 --slate 5

    Example: recsmith recommend runs/tiger-ml --users all --out recommendations.parquet
    """
    _check_question(user, history, users, out)
    if k is not None and slate is not None:
        raise UserError(f"-k asks for a list of {k} items and --slate for a slate of {slate}; give one or the other")
    size = next((number for number in (slate, k) if number is not None), ITEMS)
    from recsmith.recommender import load

    recommender = load(run)
    selection = _selection(temperature, seed, diverse)
    ask: Ask = partial(recommender.recommend, k=size, selection=selection)
    if slate is not None:
        ask = partial(recommender.recommend_slate, size=size, selection=selection)
    if users is not None:
        assert out is not None
        _for_everybody(recommender, out, ask, k=size, as_json=as_json)
    elif history is not None:
        _for_history(recommender, history, ask, as_json=as_json)
    else:
        _for_users(recommender, user or [], ask, as_json=as_json)


def _selection(temperature: float | None, seed: int | None, groups: int | None) -> Selection | None:
    """What the options ask for; None takes the best items."""
    from recsmith.decoding import Diverse, Sampled

    if groups is None:
        return None if temperature is None and seed is None else Sampled(1.0 if temperature is None else temperature, seed=seed or 0)
    if temperature is not None or seed is not None:
        raise UserError("--diverse searches and --temperature and --seed draw; give one or the other")
    return Diverse(groups)


def _check_question(user: list[str] | None, history: list[str] | None, users: str | None, out: Path | None) -> None:
    given = sum(question is not None and question != [] for question in (user, history, users))
    if given != 1:
        raise UserError("say for whom, with exactly one of --user ID, --history a,b,c or --users all; example: --user 1")
    if users is not None and users != "all":
        raise UserError(f"--users takes `all`, not {users!r}; for single people: --user {users}")
    if (users is None) != (out is None):
        raise UserError("--users all and --out FILE go together; example: --users all --out recommendations.parquet")


# ---- some users -------------------------------------------------------------------------------------------------------


def _for_users(recommender: Recommender, names: list[str], ask: Ask, *, as_json: bool) -> None:
    names = list(dict.fromkeys(names))
    for name in names:
        if name not in recommender.log.users:
            display.note(f"user `{name}` is not in the log; the list holds the most popular items instead")
    ids = {name: _raw_id(recommender, name) for name in names}
    table = ask(users=names)
    rows = [{**row, "user_id": ids[str(row["user_id"])]} for row in _rows(recommender, table)]
    if as_json:
        display.print_json(rows)
        return
    for user in ids.values():
        events = recommender.history(user)
        _show(recommender, f"user {user}", events, [row for row in rows if row["user_id"] == user])


def _raw_id(recommender: Recommender, name: str) -> Any:
    """The id as the log has it (`"1"` may be the number 1), or as given when the log lacks it."""
    users = recommender.log.users
    index = users.index(name)
    return name if index < 0 else users.ids[index]


def _for_history(recommender: Recommender, words: list[str], ask: Ask, *, as_json: bool) -> None:
    items = history_ids(recommender, words)
    unknown = recommender.unknown_items(items)
    if unknown:
        display.note(f"not in the catalogue and left out: {', '.join(f'`{item}`' for item in unknown)}")
    if len(unknown) == len(items):
        display.note("nothing of this history is known; the list holds the most popular items instead")
    rows = [{**row, "user_id": None} for row in _rows(recommender, ask(histories=[items]))]
    if as_json:
        display.print_json(rows)
    else:
        _show(recommender, "this history", [item for item in items if item not in set(unknown)], rows)


def history_ids(recommender: Recommender, words: list[str]) -> list[str]:
    """Item ids of `--history`: a value that is an id of the catalogue counts as it is, any other is split at its commas."""
    ids: list[str] = []
    for word in words:
        whole = word.strip()
        pieces = [whole] if not recommender.unknown_items([whole]) else [piece.strip() for piece in whole.split(",")]
        ids.extend(piece for piece in pieces if piece)
    return ids


def _rows(recommender: Recommender, table: pl.DataFrame) -> list[dict[str, Any]]:
    names = ["user_id", "item_id", *[name for name in ("rank", "slot", "score", "log_likelihood", "backend") if name in table.columns]]
    titles = recommender.titles(table["item_id"])
    return [{**row, "title": title} for row, title in zip(table.select(names).iter_rows(named=True), titles, strict=True)]


def _show(recommender: Recommender, who: str, events: list[Any], rows: list[dict[str, Any]]) -> None:
    recent = events[-RECENT:]
    if recent:
        display.say(f"Last {len(recent)} of {len(events):,} events of {who}, oldest first:")
    else:
        display.say(f"Nothing is known about {who}.")
    for item, title in zip(recent, recommender.titles(recent), strict=True):
        display.say(f"  {title or 'no title'}  [{item}]")
    display.say()
    place = "slot" if rows and "slot" in rows[0] else "rank"
    lines = [[row[place], row["title"] or "no title", str(row["item_id"]), row["score"]] for row in rows]
    display.print_table([place, "title", "item", "score"], lines, title=f"{recommender.recipe.title} recommends")
    if rows and rows[0].get("backend"):
        display.say(f"Language model: {rows[0]['backend']}")


# ---- everybody --------------------------------------------------------------------------------------------------------


def _for_everybody(recommender: Recommender, out: Path, ask: Ask, *, k: int, as_json: bool) -> None:
    from recsmith.cli.batch import check_format, write_for_everybody

    check_format(out)
    with display.showing_progress() as progress:
        facts = write_for_everybody(recommender, out, ask, progress=progress)
    if as_json:
        display.print_json({**facts, "k": k, **signature(recommender)})
    else:
        display.say(f"wrote {facts['rows']:,} rows for {facts['users']:,} users to `{out}`")
        for name in signature(recommender).values():
            display.say(f"Language model: {name}")


def signature(recommender: Recommender) -> dict[str, str]:
    """`backend`: which language model spoke; nothing where none has a part in the lists."""
    backend = recommender.spoken_by
    return {} if backend is None else {"backend": backend}
