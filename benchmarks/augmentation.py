"""What generated training data are worth: SASRec without and with each writer, and with negatives that an adversary chooses, paired.

    RECSMITH_DATA=… nice -n 19 python benchmarks/augmentation.py [--part writers|negatives] [--data ml-latest-small] [--seeds 0,1]

Per part, the same network, objective, seeds, epochs, early stopping and budget of minutes per fit for all. Leave-one-out on ratings of at
least 4 (where there are ratings) in their 5-core, full ranking, seen items masked. Writers write 5 events before the histories of people
with at most `--longest` training events. Printed per arm: mean ± sd over the seeds, and against the first arm the paired difference over
people, each with the mean of their values over the seeds; for writers also over those people alone whom they wrote for. `--keep DIR`
keeps what each fit gave, by arm, seed and settings, and takes it from there the next time; `--only ARM` does no more than that for one.
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

from recsmith.data import Dataset, ViewConfig, fingerprint  # noqa: E402
from recsmith.evaluation.significance import compare_with_baseline  # noqa: E402
from recsmith.fitting import fit  # noqa: E402

Settings = dict[str, Any]
Values = dict[str, np.ndarray]
VIEW = ViewConfig(min_rating=4.0, min_user_events=5, min_item_events=5)
METRICS = ("Recall@10", "NDCG@10")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["writers", "negatives"], default="writers")
    parser.add_argument("--data", default="ml-latest-small", help="folder inside $RECSMITH_DATA")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--minutes", type=float, default=2.0, help="budget of one fit")
    parser.add_argument("--longest", type=int, default=50, help="training events of the people that are written for, at most")
    parser.add_argument("--keep", type=Path, help="folder for the values of each fit")
    parser.add_argument("--only", metavar="ARM", help="fit this arm alone, into --keep")
    arguments = parser.parse_args()
    data = Dataset.from_path(Path(os.environ["RECSMITH_DATA"]) / arguments.data)
    arms = negatives() if arguments.part == "negatives" else writers(arguments.longest)
    training = {
        "epochs": arguments.epochs,
        "minutes": arguments.minutes,
        "batch_size": 64,
        "learning_rate": 0.002,
        "validate_every": 3,
        "patience": 4,
    }
    common = {"training": training, "view": VIEW.model_dump(exclude_defaults=True)}
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    if arguments.only:
        arms = {arguments.only: arms[arguments.only]}
    runs = {name: [kept(arguments.keep, name, data, seed, {**common, **settings}) for seed in seeds] for name, settings in arms.items()}
    if arguments.only:
        return
    short = data.split(view=VIEW).test.histories.lengths <= arguments.longest + 1  # and the validation event
    for metric in METRICS:
        compare(metric, runs, np.ones_like(short), "all")
        if arguments.part == "writers":
            compare(metric, runs, short, f"{short.sum()} people with short histories")


def writers(longest: int) -> dict[str, Settings]:
    network = {"model": {"dropout": 0.3}}
    written = {
        name: {**network, "augmentation": {"name": name, "events": 5, "longest": longest}} for name in ("gan", "diffuasr", "diff4rec")
    }
    return {"log alone": network, **written}


def negatives() -> dict[str, Settings]:
    network = {"model": {"dropout": 0.3, "loss": "bce"}}
    return {"uniform": network, "adversarial": {**network, "negatives": {"source": "adversarial"}}}


def kept(folder: Path | None, name: str, data: Dataset, seed: int, settings: Settings) -> Values:
    """What a fit gave, measured now or before."""
    if folder is None:
        return measured(name, data, seed, settings)[0]
    file = folder / f"{name.replace(' ', '-')}-{seed}-{fingerprint([data.hash, repr(settings)])}.npz"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        values, line = measured(name, data, seed, settings)
        np.savez(file, allow_pickle=False, line=np.array(line), **values)
        return values
    found = np.load(file)
    print(found["line"], flush=True)
    return {metric: found[metric] for metric in METRICS}


def measured(name: str, data: Dataset, seed: int, settings: Settings) -> tuple[Values, str]:
    """Each metric per person, and a line about the fit."""
    started = time.process_time()
    recommender = fit("sasrec", data, seed=seed, settings=settings)
    evaluation = recommender.evaluate("test")
    figures = "  ".join(f"{metric} {evaluation.metrics[metric]:.4f}" for metric in METRICS)
    card = recommender.card
    done, written = card["training"], card.get("augmentation", {}).get("events", 0)
    line = (
        f"  {name:11s} seed {seed}: {figures}  validation NDCG@10 {done['best watched NDCG@10']:.4f} at epoch {done['best epoch']:.0f}, "
        f"stopped by {done['stopped because']}, {written} events written in {card['seconds'].get('write events', 0):.0f} s, "
        f"{time.process_time() - started:.0f} s cpu in all"
    )
    print(line, flush=True)
    return {metric: np.asarray(evaluation.per_case[metric]) for metric in METRICS}, line


def compare(metric: str, runs: dict[str, list[Values]], chosen: np.ndarray, whom: str) -> None:
    print(f"{metric}, {whom}", flush=True)
    people = {name: np.stack([one[metric][chosen.astype(bool)] for one in some]) for name, some in runs.items()}
    means = {name: values.mean(0) for name, values in people.items()}
    baseline, *others = means
    pairs = compare_with_baseline(means[baseline], {name: means[name] for name in others})
    for name, values in people.items():
        line = f"  {name:11s} {values.mean():.4f} ± {values.mean(1).std():.4f}"
        if name in pairs:
            pair = pairs[name]
            line += f"   {pair.difference:+.4f} [{pair.interval.low:+.4f}, {pair.interval.high:+.4f}] over {baseline}: {pair.sentence()}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
