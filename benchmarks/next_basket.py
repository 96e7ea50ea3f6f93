"""Next baskets: runs beside each other on the same people, with intervals, and paired against the first of them.

    recsmith run personal-top-frequency --data $RECSMITH_DATA/tafeng --out runs/personal-top-frequency-tafeng   # and so on
    python benchmarks/next_basket.py runs/personal-top-frequency-tafeng runs/sets2sets-tafeng …

Split `next-basket`: each person's last basket is to be predicted from those before it, over the full catalogue, items bought before
included. Printed per run: each metric with a 95 % bootstrap interval over people; the paired difference to the first run; and the same
figure with the items of every basket shuffled before the run answers. The order inside a basket is that of the file and no information, so
the two are equal for a model of sets; a model of sequences (SASRec, GRU4Rec) owes the difference to that order.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from recsmith.runtime import prepare_environment

prepare_environment()

import numpy as np  # noqa: E402

from recsmith.data import shuffle_ties  # noqa: E402
from recsmith.errors import UserError  # noqa: E402
from recsmith.evaluation import Evaluation, bootstrap_interval, compare_with_baseline  # noqa: E402
from recsmith.recommender import Recommender, load  # noqa: E402

METRICS = ("Recall@10", "Recall@20", "NDCG@10", "NDCG@20")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", help="run folders of one data set under `next-basket`; the first is what others are paired with")
    arguments = parser.parse_args()
    recommenders = {Path(run).name: opened(run) for run in arguments.runs}
    found = {name: one.evaluate("test") for name, one in recommenders.items()}
    for name, evaluation in found.items():
        print(f"{name}: {evaluation.cases:,} people; recommended and bought before: {evaluation.figures['already_seen']:.0%}")
    for name, one in recommenders.items():
        shuffled = replace(one, log=shuffle_ties(one.log, seed=0)).evaluate("test")
        values = ", ".join(f"{metric} {shuffled.metrics[metric]:.4f}" for metric in METRICS)
        print(f"{name}, items of every basket shuffled: {values}", flush=True)
    for metric in METRICS:
        table(metric, found)


def opened(run: str) -> Recommender:
    """A run folder. Raises `UserError` where its split is another."""
    recommender = load(run)
    if recommender.recipe.split.name != "next-basket":
        raise UserError(f"`{run}` has the split {recommender.recipe.split.name}; give runs made with --set split.name=next-basket")
    return recommender


def table(metric: str, found: dict[str, Evaluation]) -> None:
    first, *others = found
    per_person = {name: np.asarray(evaluation.per_case[metric]) for name, evaluation in found.items()}
    pairs = compare_with_baseline(per_person[first], {name: per_person[name] for name in others}) if others else {}
    print(f"\n| {metric} | value [95 %] | over {first} | |\n|---|---|---|---|")
    for name, values in sorted(per_person.items(), key=lambda pair: -pair[1].mean()):
        own = bootstrap_interval(values)
        line = f"| {name} | {values.mean():.4f} [{own.low:.4f}, {own.high:.4f}] |"
        if name in pairs:
            pair = pairs[name]
            line += f" {pair.difference:+.4f} [{pair.interval.low:+.4f}, {pair.interval.high:+.4f}] | {pair.sentence()} |"
        print(line if name in pairs else f"{line} | |", flush=True)


if __name__ == "__main__":
    main()
