"""`recsmith transfer`: is a start from another domain better than one from nothing?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recsmith.cli import asking, display, options
from recsmith.errors import UserError

if TYPE_CHECKING:
    from recsmith.transfer import Transfer

app = typer.Typer(add_completion=False)

_HEADINGS = ("share", "people", "from nothing", "started", "difference", "95% interval", "p (Holm)", "verdict", "steps of both")


@app.command()
def transfer(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Data to learn from first; any form that `--data` takes elsewhere.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Data to learn and to be tested on.")],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder to write the runs and transfer.json to.")],
    recipe: Annotated[str, typer.Option("--recipe", metavar="RECIPE", help="A recipe without weights of single items.")] = "unisrec",
    shares: Annotated[
        str, typer.Option("--shares", metavar="S,…", help="Shares of the target's training people, above 0 and up to 1.")
    ] = "0.05,1.0",
    metric: asking.Metric = "NDCG@10",
    columns: Annotated[
        str | None,
        typer.Option("--columns", metavar="ROLE=NAME,…", help="Which column of the target means what."),
    ] = None,
    source_columns: Annotated[
        str | None, typer.Option("--source-columns", metavar="ROLE=NAME,…", help="The same of the source's columns.")
    ] = None,
    settings: options.Settings = None,
    source_settings: Annotated[
        list[str] | None,
        typer.Option("--set-source", metavar="KEY=VALUE", help="Change a setting of the source's fit alone. Repeats."),
    ] = None,
    started_settings: Annotated[
        list[str] | None,
        typer.Option("--set-started", metavar="KEY=VALUE", help="Change a setting of the model where it starts from the source. Repeats."),
    ] = None,
    seed: options.Seed = 0,
    as_json: options.Json = False,
) -> None:
    """Fit on a source, then on shares of a target from that run and from nothing, and compare both on the target's test cases.

    Every fit is a run of its own under FOLDER; the same command again goes on where it stopped and repeats no finished fit.

    Example: recsmith transfer amazon-beauty amazon-sports --recipe unisrec --set-source model.objective=contrastive --out runs/transfer
    """
    from recsmith.transfer import transfer as compare_starts

    wanted = _numbers(shares)
    first, second = options.read_data(source, source_columns), options.read_data(target, columns)
    with display.showing_progress() as progress:
        found = compare_starts(
            recipe,
            first,
            second,
            out=out,
            shares=wanted,
            seed=seed,
            metric=metric,
            settings=options.parse_settings(settings),
            source_settings=options.parse_settings(source_settings),
            started_settings=options.parse_settings(started_settings),
            progress=progress,
            message=progress.message,
            command=options.command_line(),
        )
    if as_json:
        display.print_json(found.as_dict())
    else:
        _show(found, out)


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--shares {text!r} is not a list of numbers; example: --shares 0.05,0.25,1.0") from None


def _show(found: Transfer, out: Path) -> None:
    rows = []
    for row in found.rows:
        pair, steps = row.pair, [card["training"]["steps"] for card in (row.nothing, row.started)]
        compared = [pair.baseline, pair.value, pair.difference, display.interval(pair.interval), pair.adjusted_p]
        rows.append([f"{row.share:.4g}", row.people, *compared, row.verdict, f"{steps[0]:,} / {steps[1]:,}"])
    target = found.rows[0].nothing
    title = f"{target['title']} on {target['data']['name']}, started from {found.source['data']['name']}: test {found.metric}"
    display.print_table(_HEADINGS, rows, title=title)
    told = f"{found.rows[0].pair.pairs:,} cases, {target['protocol']['name']}, ranked over the full catalogue"
    display.say(f"{told}; people drawn by seed {found.seed}")
    display.say("difference: started minus from nothing, paired; steps: until validation stopped getting better, under the same budget")
    last = target["run"], found.rows[0].started["run"]
    display.say(f"written to `{out}`, with all figures in transfer.json; next: recsmith report {' '.join(last)} --out report.html")
