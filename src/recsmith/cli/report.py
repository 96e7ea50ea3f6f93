"""`recsmith report`: runs, or a stranger's tables, side by side in one HTML file that can be sent to anybody."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsmith.cli import asking, display, options

if TYPE_CHECKING:
    from recsmith.report import ReportContent

app = typer.Typer(add_completion=False)


@app.command()
def report(
    runs: Annotated[list[Path] | None, typer.Argument(metavar="[RUN]…", help="Folders of runs; the first is the baseline.")] = None,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="HTML file to write.")] = Path("report.html"),
    table: Annotated[
        list[Path] | None, typer.Option("--table", metavar="FILE", help="Recommendations of any system: user_id, item_id, rank. Repeats.")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="PATH", help="What --table was made for; or, for runs, data that describe the users.")
    ] = None,
    columns: options.Columns = None,
    table_columns: Annotated[
        str | None, typer.Option("--table-columns", metavar="ROLE=NAME,…", help="As --columns, for --table: user=u,item=sku,rank=r.")
    ] = None,
    protocol: Annotated[str | None, typer.Option("--protocol", metavar="NAME[:KEY=VALUE,…]", help="For --table: the cut.")] = None,
    metric: Annotated[
        str | None, typer.Option("--metric", metavar="NAME", help="Any metric with a value per user, with its cutoff; default: NDCG@10.")
    ] = None,
    split: asking.Split = "test",
    shuffle_ties: asking.ShuffleTies = None,
    jobs: asking.Jobs = None,
    force: asking.Force = False,
    seed: options.Seed = 0,
    as_json: options.Json = False,
) -> None:
    """One self-contained page: question, data, figures with intervals, cost, groups, curves, people, failures, harms, how to repeat it.

    Example: recsmith report runs/sasrec-ml runs/tiger-ml runs/popularity-ml --out report.html

    A stranger's lists: recsmith report --table recs.csv --data ratings.csv --out report.html
    """
    from recsmith.errors import UserError, import_extra
    from recsmith.report import write_report

    if out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--out `{out}` is not the name of a page; give a file that ends in .html")
    if bool(runs) == bool(table):
        given = "both runs and a --table" if runs else "neither a run nor a --table"
        raise UserError(f"{given} were given; give folders of runs, or --table FILE with --data PATH")
    import_extra("matplotlib", extra="plot", purpose="a report's pictures")  # before the work, not after
    asked: dict[str, Any] = {"metric": metric, "split": split, "seed": seed, "command": options.command_line()}
    if table:
        content = _of_tables(table, data, columns, table_columns, protocol, asked)
    else:
        content = _of_runs(runs or [], data, columns, jobs, asked | {"force": force, "tie_seed": shuffle_ties})
    path = write_report(content, out)
    wrong = [check.name for check in content.checks if check.passed is False]
    if as_json:
        names = [run.name for run in content.runs]
        display.print_json({"report": str(path), "runs": names, "bytes": path.stat().st_size, "wrong": wrong})
        return
    display.say(f"written to `{path}` ({path.stat().st_size / 1024:,.0f} KB); open it in any browser")
    for name in wrong:
        display.note(f"a check failed: {name}; see the data section")


def _of_tables(
    tables: list[Path], data: str | None, columns: str | None, table_columns: str | None, protocol: str | None, asked: dict[str, Any]
) -> ReportContent:
    from recsmith.errors import UserError
    from recsmith.report import gather_tables

    if data is None:
        raise UserError("--table needs the data that its lists were made for; give --data PATH")
    source = options.read_data(data, columns)
    named = asking.parse_table_columns(table_columns)
    return gather_tables(tables, source, protocol=asking.parse_protocol(protocol), columns=named, **asked)


def _of_runs(runs: list[Path], data: str | None, columns: str | None, jobs: int | None, asked: dict[str, Any]) -> ReportContent:
    from recsmith.report import gather

    users = asking.users_of(runs[0], data, columns)
    with display.showing_progress() as progress:
        return gather(runs, users=users, jobs=asking.processes(jobs, len(runs)), progress=progress, **asked)
