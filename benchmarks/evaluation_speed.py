"""How long a full evaluation takes and how much memory it needs: every score of every user, top-k, all metrics.

    OMP_NUM_THREADS=2 python benchmarks/evaluation_speed.py                # 20,000 users × 12,000 items
    OMP_NUM_THREADS=2 python benchmarks/evaluation_speed.py --top-k numpy  # ranked by NumPy instead of torch

The scores come from random factors, in batches, as a model would give them; the time to make them is printed apart, since it is
the model's. The peak of memory is given as what it exceeds the memory in use just before the evaluation by, the model's batch of
scores included (Linux only).
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recsmith.data import Cases, Histories, offsets_of
from recsmith.evaluation import evaluate_answer, rank_scores
from recsmith.protocols import Limits, RankedLists
from recsmith.seeding import generator

FACTORS, CATEGORIES, VECTOR_DIMENSION = 32, 40, 384

Rank = Callable[[np.ndarray, int, Histories], RankedLists]


@dataclass
class TimedModel:
    """Scores by random factors; adds up the seconds that scoring and ranking take."""

    users: np.ndarray
    items: np.ndarray
    rank: Rank
    scoring: float = 0.0
    ranking: float = 0.0

    def answer(self, cases: Cases, k: int) -> RankedLists:
        started = time.perf_counter()
        scores = self.users[cases.users] @ self.items.T
        scored = time.perf_counter()
        lists = self.rank(scores, k, cases.histories)
        self.scoring += scored - started
        self.ranking += time.perf_counter() - scored
        return lists


def by_numpy(scores: np.ndarray, k: int, seen: Histories) -> RankedLists:
    return rank_scores(scores, k, exclude=seen)


def by_torch() -> Rank:
    import torch

    from recsmith.decoding import top_k

    def rank(scores: np.ndarray, k: int, seen: Histories) -> RankedLists:
        return top_k(torch.from_numpy(scores), k, limits=Limits(exclude=seen))

    return rank


def random_rows(random: np.random.Generator, rows: int, *, low: int, high: int, values: int) -> Histories:
    lengths = random.integers(low, high + 1, rows)
    return Histories(random.integers(0, values, lengths.sum()), offsets_of(lengths))


def peak_megabytes() -> float:
    """Largest resident size of this process so far, MB (Linux gives KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def resident_megabytes() -> float:
    """Resident size of this process now, MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--items", type=int, default=12_000)
    parser.add_argument("--top-k", choices=["torch", "numpy"], default="torch")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()

    random = generator(0, "evaluation_speed")
    users = random.standard_normal((arguments.users, FACTORS), dtype=np.float32)
    items = random.standard_normal((arguments.items, FACTORS), dtype=np.float32)
    cases = Cases(
        np.arange(arguments.users),
        random_rows(random, arguments.users, low=3, high=20, values=arguments.items),
        random_rows(random, arguments.users, low=1, high=10, values=arguments.items),
    )
    facts: dict[str, Any] = {
        "popularity": np.bincount(cases.histories.values, minlength=arguments.items),
        "categories": random_rows(random, arguments.items, low=1, high=4, values=CATEGORIES),
        "vectors": random.standard_normal((arguments.items, VECTOR_DIMENSION), dtype=np.float32),
    }
    rank = by_torch() if arguments.top_k == "torch" else by_numpy
    for repeat in range(arguments.repeats):
        model = TimedModel(users, items, rank)
        before = resident_megabytes()
        found = evaluate_answer(model.answer, cases, item_count=arguments.items, split="test", protocol={}, **facts)
        rest = found.seconds - model.scoring - model.ranking
        print(
            f"run {repeat + 1}: evaluation {found.seconds - model.scoring:.2f} s (top-k {model.ranking:.2f} s, metrics {rest:.2f} s), "
            f"scores {model.scoring:.2f} s, peak {peak_megabytes():,.0f} MB, {peak_megabytes() - before:,.0f} MB above the start"
        )
    print(found.table())


if __name__ == "__main__":
    main()
