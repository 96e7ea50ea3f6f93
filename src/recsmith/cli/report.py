"""`recsmith report`: runs side by side in one HTML file that can be sent to anybody."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from recsmith.cli import display, options

app = typer.Typer(add_completion=False)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN…", help="Folders of runs; the first is the baseline.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="HTML file to write.")] = Path("report.html"),
    metric: Annotated[str, typer.Option("--metric", metavar="NAME", help="Any metric with a value per user, with its cutoff.")] = "NDCG@10",
    split: Annotated[Literal["test", "validation"], typer.Option("--split", help="Which held-out events to predict.")] = "test",
    force: Annotated[bool, typer.Option("--force", help="Show runs of different data or protocol too; they are marked.")] = False,
    seed: options.Seed = 0,
    as_json: options.Json = False,
) -> None:
    """One self-contained page: question, data with leaks and ties, figures with intervals, cost, people drawn by lot, how to repeat it.

    Example: recsmith report runs/sasrec-ml runs/tiger-ml runs/popularity-ml --out report.html
    """
    from recsmith.errors import UserError, import_extra
    from recsmith.report import gather, write_report

    if out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--out `{out}` is not the name of a page; give a file that ends in .html")
    import_extra("matplotlib", extra="plot", purpose="a report's pictures")  # before the work, not after
    with display.showing_progress() as progress:
        content = gather(runs, metric=metric, split=split, force=force, seed=seed, progress=progress)
    path = write_report(content, out)
    wrong = [check.name for check in content.checks if check.passed is False]
    if as_json:
        display.print_json({"report": str(path), "runs": [run.name for run in content.runs], "bytes": path.stat().st_size, "wrong": wrong})
        return
    display.say(f"written to `{path}` ({path.stat().st_size / 1024:,.0f} KB); open it in any browser")
    for name in wrong:
        display.note(f"a check failed: {name}; see the data section")
