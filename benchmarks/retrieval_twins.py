"""What texts add: systems that start from or read text vectors beside twins that know item numbers alone, on amazon-beauty.

    RECSMITH_DATA=… python benchmarks/retrieval_twins.py [--pairs alpharec,llm2bert4rec,llm2sequential] [--seeds 0,1,2] [--epochs 60]

`--minutes 5` ends each fit early; `--data PATH` takes other data, also `world`; `--encoder tfidf` other vectors. To see that it runs (a
minute of one core):

    python benchmarks/retrieval_twins.py --data world:users=150,items=80,events=3000 --encoder tfidf --epochs 1 --seeds 0,1

Both twins have the same settings, seeds, budget of epochs or minutes and early stopping; leave-one-out, full ranking, seen items masked.
Per pair: mean ± sd over the seeds, and the paired test over people, each with the mean of their values over the seeds.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

from recsmith.runtime import prepare_environment

prepare_environment()

import numpy as np  # noqa: E402

from recsmith.cli.options import read_data  # noqa: E402
from recsmith.data import Dataset  # noqa: E402
from recsmith.evaluation import Evaluation  # noqa: E402
from recsmith.evaluation.significance import compare_with_baseline  # noqa: E402
from recsmith.fitting import fit  # noqa: E402
from recsmith.recipe import load_recipe  # noqa: E402

PAIRS: dict[str, dict[str, Any]] = {
    "alpharec": {"model": {"items": "ids"}},
    "llm2bert4rec": {"start": {"items": "random"}},
    "llm2sequential": {"start": {"items": "random"}},
}
"""Recipe → the settings that make its twin."""
METRICS = ("Recall@10", "NDCG@10")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", default=",".join(PAIRS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--minutes", type=float, help="training time of each fit, at most")
    parser.add_argument("--data", help="default: amazon-beauty in $RECSMITH_DATA")
    parser.add_argument("--encoder", default="auto")
    arguments = parser.parse_args()
    data = read_data(arguments.data or str(Path(os.environ["RECSMITH_DATA"]) / "amazon-beauty"), None)
    shared = {"training": {"epochs": arguments.epochs, "minutes": arguments.minutes}, "encoder": {"name": arguments.encoder}}
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    for name in arguments.pairs.split(","):
        with_texts = [measured(name, data, seed, shared, {}) for seed in seeds]
        without = [measured(name, data, seed, shared, PAIRS[name]) for seed in seeds]
        compare(name, with_texts, without)


def measured(name: str, data: Dataset, seed: int, shared: dict[str, Any], settings: dict[str, Any]) -> Evaluation:
    started = time.process_time()
    recipe = load_recipe(name).with_settings(shared).with_settings(settings)
    evaluation = fit(recipe, data, seed=seed).evaluate("test")
    figures = "  ".join(f"{metric} {evaluation.metrics[metric]:.4f}" for metric in METRICS)
    kind = "without texts" if settings else "with texts"
    print(f"  {name} {kind}, seed {seed}: {figures}  ({time.process_time() - started:.0f} s cpu)", flush=True)
    return evaluation


def compare(name: str, with_texts: list[Evaluation], without: list[Evaluation]) -> None:
    for metric in METRICS:
        ours, theirs = ([evaluation.metrics[metric] for evaluation in some] for some in (with_texts, without))
        mean_ours, mean_theirs = (np.mean([np.asarray(one.per_case[metric]) for one in some], axis=0) for some in (with_texts, without))
        pair = compare_with_baseline(mean_theirs, {name: mean_ours})[name]
        print(
            f"{name:16s} {metric:10s} with texts {spread(ours)}   without {spread(theirs)}   "
            f"{pair.difference:+.4f} [{pair.interval.low:+.4f}, {pair.interval.high:+.4f}]  {pair.sentence()}",
            flush=True,
        )


def spread(values: list[float]) -> str:
    return f"{np.mean(values):.4f} ± {np.std(values):.4f}"


if __name__ == "__main__":
    main()
