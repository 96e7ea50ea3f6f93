"""`recsmith compare`: is the difference between runs more than chance? Paired, with intervals, against the first run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsmith.cli import asking, display, options

if TYPE_CHECKING:
    from recsmith.comparison import Comparison, RunFigure

app = typer.Typer(add_completion=False)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN…", help="Folders of two runs or more; the first is the baseline.")],
    metric: asking.Metric = "NDCG@10",
    split: asking.Split = "test",
    jobs: asking.Jobs = None,
    force: asking.Force = False,
    seed: options.Seed = 0,
    as_json: options.Json = False,
) -> None:
    """Runs against the first, user by user: bootstrap intervals, sign-flip tests corrected by Holm, and what would have been seen.

    Example: recsmith compare runs/sasrec-ml runs/tiger-ml runs/popularity-ml --metric Recall@10
    """
    from recsmith.comparison import compare_runs

    with display.showing_progress() as progress:
        comparison = compare_runs(
            runs, metric=metric, split=split, force=force, seed=seed, jobs=asking.processes(jobs, len(runs)), progress=progress
        )
    if as_json:
        display.print_json(_document(comparison))
    else:
        _show(comparison)


def _show(comparison: Comparison) -> None:
    level = f"{1 - comparison.alpha:.0%}"
    headings = ["run", comparison.metric, f"{level} interval", "difference", f"{level} interval ", "p (Holm)", "could see", "verdict"]
    display.print_table(headings, [_row(comparison, figure) for figure in comparison.figures])
    first = comparison.figures[0].run
    protocol = first.evaluation.protocol.get("name")
    display.say(
        f"{comparison.split}, {first.evaluation.cases:,} users, {protocol}; {comparison.resamples:,} resamples, seed {comparison.seed}"
    )
    display.say(f"difference: paired, to {first.name}; could see: the smallest that these users would have shown four times in five")
    for figure in comparison.figures:
        if figure.run.marks:
            pairs = 0 if figure.against_first is None else figure.against_first.pairs
            marks = "; ".join(figure.run.marks)
            display.note(f"{figure.run.name} is not comparable with {first.name} ({marks}); tested on {pairs:,} user ids in common")


def _row(comparison: Comparison, figure: RunFigure) -> list[Any]:
    test = figure.against_first
    name = figure.run.name + (" (not comparable)" if figure.run.marks else "")
    measured = [name, figure.mean, display.interval(figure.interval)]
    if test is None:
        return [*measured, None, None, None, None, comparison.verdict(figure)]
    seen = None if math.isnan(test.detectable) else test.detectable
    return [*measured, test.difference, display.interval(test.interval), test.adjusted_p, seen, comparison.verdict(figure)]


def _document(comparison: Comparison) -> dict[str, Any]:
    return {
        "metric": comparison.metric,
        "split": comparison.split,
        "comparable": comparison.comparable,
        "level": 1 - comparison.alpha,
        "correction": "holm",
        "resamples": comparison.resamples,
        "seed": comparison.seed,
        "runs": [_result(comparison, figure) for figure in comparison.figures],
    }


def _result(comparison: Comparison, figure: RunFigure) -> dict[str, Any]:
    run, test = figure.run, figure.against_first
    against = test and {
        "pairs": test.pairs,
        "difference": test.difference,
        "interval": [test.interval.low, test.interval.high],
        "p": test.p_value,
        "p_holm": test.adjusted_p,
        "effect_size": test.effect_size,
        "smallest_detectable": test.detectable,
    }
    return {
        "run": run.name,
        "recipe": run.card.get("recipe"),
        "data": run.card.get("data", {}),
        "protocol": run.evaluation.protocol,
        "cases": run.evaluation.cases,
        "value": figure.mean,
        "interval": [figure.interval.low, figure.interval.high],
        "against_first": against,
        "verdict": comparison.verdict(figure),
        "in_words": comparison.sentence(figure),
        "not_comparable_because": list(run.marks),
    }
