"""Our session models beside four published lists of recommendations on yoochoose-100k: the same 387 positions, the same evaluator.

    RECSMITH_DATA=… python benchmarks/session_lists.py [--models 'gru4rec; sasrec; …'] [--minutes 2]

The published lists (association rules, sequential rules, VSKNN and GRU4Rec of the session-rec framework) are for the first 99 test
sessions; the target of a position is the next click, and items clicked before may come again. Ours learn from the training slice alone,
but for its last 2 % of sessions, which say when to stop within `--minutes` (and the very last: a split must have a test case). Printed:
Recall@20 and MRR@20 with 95 % intervals that resample sessions, because the positions of one session are not independent; and in
brackets the paired difference to VSKNN, resampled alike.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recsmith.runtime import prepare_environment

prepare_environment()

import numpy as np  # noqa: E402
import polars as pl  # noqa: E402

from recsmith.config import merge  # noqa: E402
from recsmith.data import Cases, Dataset, Histories, Vocabulary  # noqa: E402
from recsmith.evaluation import evaluate_lists  # noqa: E402
from recsmith.fitting import fit  # noqa: E402
from recsmith.protocols import RankedLists  # noqa: E402
from recsmith.recommender import Recommender  # noqa: E402
from recsmith.seeding import generator  # noqa: E402

K = 20
METRICS = (f"Recall@{K}", f"MRR@{K}")
PUBLISHED = ("ar", "sr", "vsknn", "gru4rec")
BASELINE = "vsknn (published)"
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "popularity": ("popularity", {}),
    "item-knn": ("item-knn", {"model": {"similarity": "conditional", "shrinkage": 2.0, "recency": 0.4}}),  # best of 18 on validation
    "gru4rec": ("gru4rec", {}),
    "sasrec": ("sasrec", {"model": {"dropout": 0.3}}),
    "gru4rec, bpr-max": ("gru4rec", {"model": {"loss": "bpr-max", "sampling": "uniform", "regularisation": 0.01}}),
    "vaser": ("vaser", {}),
    "gru4rec, top1-max": ("gru4rec", {"model": {"loss": "top1-max", "sampling": "uniform"}}),
}
TRAINING = {"epochs": 40, "batch_size": 64, "learning_rate": 0.004, "max_history": 20, "patience": 3, "validation_metric": f"MRR@{K}"}


@dataclass(frozen=True)
class Positions:
    """What the published lists answer: for each position its session, the clicks up to it and the next click."""

    sessions: list[int]
    known: list[list[int]]
    targets: list[int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", help=f"names, separated by semicolons; default: {'; '.join(MODELS)}")
    parser.add_argument("--minutes", type=float, default=2.0, help="budget of one fit")
    arguments = parser.parse_args()
    folder = Path(os.environ["RECSMITH_DATA"]) / "yoochoose-100k"
    data = Dataset.from_path(folder)
    positions = asked(folder, data)
    print(f"{len(positions.targets)} positions of {len(set(positions.sessions))} sessions")
    found = {f"{name} (published)": measured(published(folder, name), positions) for name in PUBLISHED}
    for name in found:
        show(name, found, positions, "")
    for name in arguments.models.split(";") if arguments.models else MODELS:
        started = time.process_time()
        recommender = fitted(*MODELS[name.strip()], data, minutes=arguments.minutes)
        found[name] = measured(answers(recommender, positions), positions)
        done = recommender.card.get("training", {})
        show(name, found, positions, f"  {done.get('steps', 0)} steps, {time.process_time() - started:.0f} s cpu")


def lines(folder: Path, algorithm: str) -> list[dict[str, str]]:
    """The rows of a published file: session, position, recommendations."""
    with gzip.open(folder / f"recoms_rsc15_100k_{algorithm}.csv.gz", "rt") as file:
        return list(csv.DictReader(file, delimiter=";"))


def published(folder: Path, algorithm: str) -> list[list[int]]:
    """The first `K` items of each published list."""
    return [[int(item) for item in row["Recommendations"].split(",")[:K]] for row in lines(folder, algorithm)]


def asked(folder: Path, data: Dataset) -> Positions:
    """The positions of the published files, which all answer the same ones. Raises `ValueError` where they do not."""
    places = [[(int(row["SessionId"]), int(row["Position"])) for row in lines(folder, name)] for name in PUBLISHED]
    if any(other != places[0] for other in places):
        raise ValueError("the published files answer different positions")
    test = data.interactions.filter(pl.col("part") == "test").group_by("session_id", maintain_order=True).agg("item_id")
    clicks: dict[int, list[int]] = dict(zip(test["session_id"].to_list(), test["item_id"].to_list(), strict=True))
    return Positions(
        [session for session, _ in places[0]],
        [clicks[session][: place + 1] for session, place in places[0]],
        [clicks[session][place + 1] for session, place in places[0]],
    )


def fitted(recipe: str, settings: dict[str, Any], data: Dataset, *, minutes: float) -> Recommender:
    """The model learned on the training slice, whose last sessions say when to stop."""
    train = replace(data, interactions=data.interactions.filter(pl.col("part") == "train_full"))
    one_session = 1 / train.interactions["session_id"].n_unique()
    split = {"name": "session-prefixes", "session_gap": 0.0, "validation_share": 0.02, "test_share": one_session}
    return fit(recipe, train, settings=merge({"split": split, "training": {**TRAINING, "minutes": minutes}}, settings))


def answers(recommender: Recommender, positions: Positions) -> list[list[int]]:
    """Lists of `K` raw item ids; items of the session may come again."""
    histories = Histories.from_rows([recommender.log.items.indices(known).tolist() for known in positions.known])
    nobody = np.full(len(histories), -1)
    lists = recommender.answer(Cases(nobody, histories, histories), K)
    return [recommender.log.items.raw(row).to_list() for row in lists.items]


def measured(lists: list[list[int]], positions: Positions) -> dict[str, np.ndarray]:
    """Each metric at each position, by the evaluator that measures everything else."""
    items = Vocabulary(item for row in [*lists, positions.targets] for item in row)
    ranked = RankedLists(np.array([items.indices(row) for row in lists]), np.zeros((len(lists), K), dtype=np.float32))
    targets = Histories.from_rows([items.indices([target]).tolist() for target in positions.targets])
    found = evaluate_lists(ranked, targets, item_count=len(items), ks=(K,))
    return {metric: np.asarray(found.per_case[metric]) for metric in METRICS}


def interval(values: np.ndarray, sessions: list[int], *, resamples: int = 10_000) -> tuple[float, float]:
    """A 95 % interval of the mean over positions when whole sessions are drawn again."""
    _, group = np.unique(sessions, return_inverse=True)
    sums, sizes = np.bincount(group, weights=values), np.bincount(group)
    counts = generator(0, "sessions").multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=resamples)
    low, high = np.quantile((counts @ sums) / (counts @ sizes), [0.025, 0.975])
    return float(low), float(high)


def show(name: str, found: dict[str, dict[str, np.ndarray]], positions: Positions, note: str) -> None:
    parts = []
    for metric in METRICS:
        values = found[name][metric]
        low, high = interval(values, positions.sessions)
        part = f"{metric} {values.mean():.4f} [{low:.4f}, {high:.4f}]"
        if BASELINE in found and name != BASELINE:
            difference = values - found[BASELINE][metric]
            low, high = interval(difference, positions.sessions)
            part += f" ({difference.mean():+.4f} [{low:+.4f}, {high:+.4f}])"
        parts.append(part)
    print(f"{name:20s} {'  '.join(parts)}{note}", flush=True)


if __name__ == "__main__":
    main()
