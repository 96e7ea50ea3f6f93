"""`python -m recsmith.demo`: the main job on the built-in data in a few minutes, with one table, one person's list, and what to try next.

The data are simulated, so the truth is known: the table ends with the oracle, which no recommender can beat except by luck.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsmith.cli import display
from recsmith.cli.program import guarded
from recsmith.runtime import prepare_environment

if TYPE_CHECKING:
    from recsmith.data.world import World
    from recsmith.protocols import Progress
    from recsmith.recommender import Recommender

WORLD = {"users": 2000, "items": 500, "events": 40_000, "seed": 0}
"""Small enough that everything ends within five minutes on two cores; all its works are real ones."""

# Recipes as they stand are meant for real data and more time; these settings make them small, not different.
SETTINGS: dict[str, dict[str, Any]] = {
    "popularity": {},
    "sasrec": {"training": {"epochs": 40, "patience": 4, "minutes": 0.75}},
    "tiger": {
        "validation_cases": 500,
        "model": {"dim": 64, "heads": 4, "head_dim": 16, "ff_dim": 256, "dropout": 0.05, "head": "untied"},
        "tokenizer": {"levels": 2, "size": 64},
        "training": {"epochs": 24, "batch_size": 128, "learning_rate": 0.006, "warmup_steps": 100, "validate_every": 4, "minutes": 2.75},
        "decoding": {"beams": 20},
    },
}
METRICS = ("Recall@10", "NDCG@10", "Coverage@10")


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    metrics: dict[str, float]
    seconds: float | None


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `make demo`."""
    parser = argparse.ArgumentParser(prog="python -m recsmith.demo", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder for the runs (default: %(default)s)")
    options = parser.parse_args(arguments)
    prepare_environment()
    raise SystemExit(guarded(lambda: demo(options.out)))


def demo(out: Path, *, size: dict[str, int] | None = None, settings: dict[str, dict[str, Any]] | None = None) -> None:
    """Make the data, fit every system of `settings`, and print what came out; runs are written below `out`."""
    from recsmith.data.world import world

    size = size or WORLD
    display.say(f"Making the built-in data: {size['users']:,} simulated people, {size['items']:,} works, {size['events']:,} events …")
    data = world(size["users"], size["items"], size["events"], size["seed"])
    recommenders: dict[str, Recommender] = {}
    rows = []
    with display.showing_progress() as progress:
        for recipe, changes in (settings or SETTINGS).items():
            display.say(f"Fitting {recipe} …")
            recommenders[recipe], row = _fit(recipe, data, out / recipe, changes, progress)
            rows.append(row)
    rows.append(_oracle(data, recommenders["tiger"]))
    _show_table(rows, recommenders["tiger"])
    _show_person(recommenders["tiger"])
    _show_next(out)


def _fit(recipe: str, data: World, out: Path, settings: dict[str, Any], progress: Progress) -> tuple[Recommender, Row]:
    from recsmith import fitting
    from recsmith.recommender import load

    started = time.perf_counter()
    card = fitting.run(recipe, data.dataset, out=out, settings=settings, progress=progress, command="python -m recsmith.demo")
    return load(out), Row(card["title"], card["metrics"], time.perf_counter() - started)


def _oracle(data: World, fitted: Recommender) -> Row:
    """The truth about the same test cases: it knows tastes and habits, not the dice."""
    from recsmith.evaluation import evaluate_answer

    answer = data.oracle.aligned(fitted.log).answer
    measured = evaluate_answer(
        answer,
        fitted.split().test,
        item_count=fitted.items,
        ks=(10,),
        split="test",
        protocol=fitted.recipe.split.model_dump(mode="json"),
    )
    return Row("oracle (knows the truth)", measured.metrics, None)


def _show_table(rows: list[Row], fitted: Recommender) -> None:
    facts = fitted.card["data"]
    title = f"Test: the last event of each of {facts['users']:,} people, ranked among all {facts['items']:,} works"
    lines = [[row.name, *(row.metrics[name] for name in METRICS), row.seconds and display.duration(row.seconds)] for row in rows]
    display.say()
    display.print_table(["system", *METRICS, "fit and measure"], lines, title=title)


def _show_person(fitted: Recommender) -> None:
    """The history of a person in the middle of the crowd, and the generated list."""
    import numpy as np

    person = fitted.log.users.ids[int(np.argsort(fitted.log.histories.lengths, kind="stable")[len(fitted.log.users) // 2])]
    events = fitted.history(person)
    display.say(f"Person {person}, {len(events)} events, the last ones:")
    for title in fitted.titles(events[-8:]):
        display.say(f"  {title}")
    items = fitted.recommend(users=[person], k=10)["item_id"]
    display.say()
    lines = [[rank, title, item] for rank, (title, item) in enumerate(zip(fitted.titles(items), items, strict=True), start=1)]
    display.print_table(["rank", "title", "item"], lines, title=f"{fitted.recipe.title} generates, constrained to the catalogue")


def _show_next(out: Path) -> None:
    display.say("What to try next:")
    for command, meaning in (
        (f"recsmith recommend {out}/tiger --user u00042", "another person"),
        (f"recsmith recommend {out}/tiger --history i00001,i00002", "anybody, by what they liked"),
        (f"recsmith card show {out}/tiger", "data, protocol, figures, seeds, commit, hardware"),
        ("recsmith data inspect YOUR.csv", "what is in your own log, and what is wrong with it"),
        ("recsmith run sasrec --data YOUR.csv --out runs/mine", "the same on your own log"),
        ("recsmith systems", "what else there is"),
    ):
        display.say(f"  {command:<58} {meaning}")


if __name__ == "__main__":
    main()
