"""What the objective of SASRec is worth: full softmax and gSASRec's calibrated loss beside the paper's BCE with one negative, paired.

    RECSMITH_DATA=… python benchmarks/paired_losses.py [--data ml-latest-small|amazon-beauty] [--seeds 0,1] [--epochs 60] [--minutes 3]

The same network, seeds, epochs and budget of minutes per fit for all, the best epoch by validation; only the objective differs
(gSASRec: 64 negatives, t = 0.75). Leave-one-out on ratings of at least 4 (where there are ratings), full ranking, seen items masked.
Printed per objective: mean ± sd over the seeds, and against BCE the paired difference over people, each with the mean of their values
over the seeds.
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

from recsmith.data import Dataset  # noqa: E402
from recsmith.evaluation import Evaluation  # noqa: E402
from recsmith.evaluation.significance import compare_with_baseline  # noqa: E402
from recsmith.fitting import fit  # noqa: E402

BASELINE = "BCE"
OBJECTIVES: dict[str, dict[str, Any]] = {
    BASELINE: {"loss": "bce"},
    "gSASRec": {"loss": "gbce", "negatives": 64, "gbce_t": 0.75},
    "full softmax": {"loss": "softmax"},
}
METRICS = ("Recall@10", "NDCG@10")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="ml-latest-small", help="folder inside $RECSMITH_DATA")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--minutes", type=float, default=3.0, help="budget of one fit")
    parser.add_argument("--patience", type=int, help="validations (every 3 epochs) without a gain after which a fit stops; without it none")
    parser.add_argument("--batch", type=int, default=64, help="histories per step")
    arguments = parser.parse_args()
    data = Dataset.from_path(Path(os.environ["RECSMITH_DATA"]) / arguments.data)
    training = {
        "epochs": arguments.epochs,
        "minutes": arguments.minutes,
        "batch_size": arguments.batch,
        "learning_rate": 0.002,
        "validate_every": 3,
        "patience": arguments.patience,
    }
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    runs = {name: [measured(name, data, seed, training) for seed in seeds] for name in OBJECTIVES}
    for metric in METRICS:
        compare(metric, runs)


def measured(name: str, data: Dataset, seed: int, training: dict[str, Any]) -> Evaluation:
    started = time.process_time()
    settings = {"model": {"dropout": 0.3, **OBJECTIVES[name]}, "training": training, "view": {"min_rating": 4.0}}
    recommender = fit("sasrec", data, seed=seed, settings=settings)
    evaluation = recommender.evaluate("test")
    figures = "  ".join(f"{metric} {evaluation.metrics[metric]:.4f}" for metric in METRICS)
    done = recommender.card["training"]
    print(
        f"  {name:13s} seed {seed}: {figures}  validation NDCG@10 {done['best watched NDCG@10']:.4f} at epoch {done['best epoch']:.0f}, "
        f"stopped by {done['stopped because']}, {time.process_time() - started:.0f} s cpu",
        flush=True,
    )
    return evaluation


def compare(metric: str, runs: dict[str, list[Evaluation]]) -> None:
    per_person = {name: np.mean([np.asarray(one.per_case[metric]) for one in some], axis=0) for name, some in runs.items()}
    pairs = compare_with_baseline(per_person[BASELINE], {name: values for name, values in per_person.items() if name != BASELINE})
    for name, some in runs.items():
        values = [one.metrics[metric] for one in some]
        line = f"{metric:10s} {name:13s} {np.mean(values):.4f} ± {np.std(values):.4f}"
        if name in pairs:
            pair = pairs[name]
            line += f"   {pair.difference:+.4f} [{pair.interval.low:+.4f}, {pair.interval.high:+.4f}] over {BASELINE}: {pair.sentence()}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
