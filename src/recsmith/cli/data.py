"""`recsmith data inspect` and `recsmith data prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsmith.cli import display, options

if TYPE_CHECKING:
    from recsmith.data import Dataset

app = typer.Typer(
    add_completion=False,
    help="Look at data, or bring it into recsmith's own form.\n\nExample: recsmith data inspect ratings.csv",
)

Source = Annotated[str, typer.Argument(metavar="PATH", help="File or folder of any known form, or `world`.")]


@app.command()
def inspect(path: Source, columns: options.Columns = None, as_json: options.Json = False) -> None:
    """What is in it, and what is wrong with it.

    Example: recsmith data inspect ratings.csv --columns user=customer_no,item=sku,time=ts
    """
    report = options.read_data(path, columns).inspect().as_dict()
    if as_json:
        display.print_json(report)
    else:
        _show(report)


@app.command()
def prepare(
    path: Source,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write: Parquet files and dataset.json.")],
    columns: options.Columns = None,
    as_json: options.Json = False,
) -> None:
    """Read raw files once and write them as a prepared data set, which every command reads much faster.

    Example: recsmith data prepare ml-1m --out data/ml-1m
    """
    data = options.read_data(path, columns)
    data.save(out)
    facts = _facts(data, out)
    if as_json:
        display.print_json(facts)
        return
    display.say(f"wrote `{out}`: {facts['events']:,} events of {facts['users']:,} users and {facts['items']:,} items, hash {facts['hash']}")
    display.say(f"next: recsmith run sasrec --data {out} --out runs/first")


def _facts(data: Dataset, out: Path) -> dict[str, Any]:
    events = data.interactions
    return {
        "folder": str(out),
        "name": data.name,
        "hash": data.hash,
        "users": events["user_id"].n_unique(),
        "items": events["item_id"].n_unique(),
        "events": events.height,
        "source": data.source,
    }


def _show(report: dict[str, Any]) -> None:
    source = report["source"]
    display.say(f"{report['name']}: read as {source.get('reader')}{_mapped(source.get('columns'))}")
    display.say(f"content hash {report['hash']}")
    display.print_table(
        ["", "number", "events of each: least", "median", "95 %", "most", "mean"],
        [
            ["users", report["users"], *_spread(report["events_per_user"])],
            ["items", report["items"], *_spread(report["events_per_item"])],
            ["events", report["events"], None, None, None, None, None],
        ],
    )
    display.print_table(["what", "found"], _findings(report))
    display.print_table(["table", "columns"], [[table, _named(columns)] for table, columns in report["columns"].items()])
    _list("watch out", report["warnings"])
    _list("what to do", report["suggestions"])


def _findings(report: dict[str, Any]) -> list[list[str]]:
    span = report["time_range"]
    ratings = [f"{value}: {count:,}" for value, count in (report["ratings"] or {}).items()]
    rows = [
        ["density", f"{report['density']:.4%} of all user-item pairs have an event"],
        ["time", f"{span[0]} to {span[1]} (UTC)" if span else "none: the order of the file counts"],
        ["ratings", ", ".join(ratings) or "none: every event counts the same"],
        ["repeated pairs", f"{report['repeated_pairs']:,} events whose user and item met before"],
        ["catalogue", _catalogue(report)],
    ]
    if report["missing"]:
        rows.append(["missing values", ", ".join(f"{column}: {count:,}" for column, count in report["missing"].items())])
    return rows


def _catalogue(report: dict[str, Any]) -> str:
    if report["catalogue_items"] is None:
        return "none: no titles, no item texts"
    return f"{report['catalogue_items']:,} items; {report['items_without_catalogue']:,} items of the log are not in it"


def _spread(quantiles: dict[str, float]) -> list[float | int | None]:
    return [*(int(quantiles[name]) if name in quantiles else None for name in ("min", "median", "q95", "max")), quantiles.get("mean")]


def _mapped(columns: dict[str, str] | None) -> str:
    renamed = [f"{ours} = {theirs}" for ours, theirs in (columns or {}).items() if ours != theirs]
    return f" ({', '.join(renamed)})" if renamed else ""


def _named(columns: dict[str, str]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in columns.items())


def _list(heading: str, lines: list[str]) -> None:
    if lines:
        display.say(f"{heading}:")
    for line in lines:
        display.say(f"  - {line}")
