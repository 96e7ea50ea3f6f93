"""How long all measures take on finished lists, how much memory, and how many times faster than ir-measures.

    OMP_NUM_THREADS=2 python benchmarks/evaluation_measures.py             # 100,000 users × 50 items, ir-measures on 10,000 of them
    OMP_NUM_THREADS=2 python benchmarks/evaluation_measures.py --peer-users 100000

The lists, targets, histories, categories (1 to 4 of 40) and 64-dimensional vectors are random; popularity falls as 1/rank^0.8. The peak of
memory is what it exceeds the memory in use just before by (Linux only). ir-measures gets the measures that both have (recall,
precision, success, nDCG, RR, AP at 5, 10, 20 and 50), from the tables that it takes, already built; its time per user is compared with
ours on the same users in the same run, and so are the values.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np

from recsmith.data import Histories, offsets_of
from recsmith.evaluation import evaluate_lists
from recsmith.protocols import RankedLists
from recsmith.seeding import generator

KS, LENGTH, CATEGORIES, DIMENSION = (5, 10, 20, 50), 50, 40, 64


def random_rows(random: np.random.Generator, rows: int, *, low: int, high: int, values: int) -> Histories:
    lengths = random.integers(low, high + 1, rows)
    return Histories(random.integers(0, values, lengths.sum()), offsets_of(lengths))


def random_lists(random: np.random.Generator, users: int, items: int) -> np.ndarray:
    """Lists without repetitions: a random walk through the catalogue with steps of at least 1."""
    steps = random.integers(1, max(2, items // LENGTH), (users, LENGTH))
    return (random.integers(0, items, (users, 1)) + np.cumsum(steps, axis=1)) % items


def megabytes(*, peak: bool) -> float:
    if peak:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def measure_peer(items: np.ndarray, targets: Histories) -> tuple[float, dict[str, float]]:
    """Seconds of ir-measures and its means, on dictionaries that are built before the clock starts."""
    from ir_measures import AP, RR, P, R, Success, calc_aggregate, nDCG

    ours = {R: "Recall", P: "Precision", Success: "Hit", nDCG: "NDCG", RR: "MRR", AP: "MAP"}
    names = {measure @ k: f"{name}@{k}" for measure, name in ours.items() for k in KS}
    wanted = {str(user): {str(item): 1 for item in targets.row(user).tolist()} for user in range(len(targets))}
    run = {str(user): {str(item): float(LENGTH - place) for place, item in enumerate(row)} for user, row in enumerate(items.tolist())}
    started = time.perf_counter()
    found = calc_aggregate(list(names), wanted, run)
    return time.perf_counter() - started, {names[measure]: value for measure, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--peer-users", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()

    random = generator(0, "evaluation_measures")
    items = random_lists(random, arguments.users, arguments.items)
    lists = RankedLists(items, np.zeros(items.shape, dtype=np.float32))
    targets = random_rows(random, arguments.users, low=1, high=10, values=arguments.items)
    facts: dict[str, Any] = {
        "popularity": (1e5 / np.arange(1, arguments.items + 1) ** 0.8).astype(np.int64),
        "categories": random_rows(random, arguments.items, low=1, high=4, values=CATEGORIES),
        "histories": random_rows(random, arguments.users, low=5, high=30, values=arguments.items),
    }
    vectors = random.standard_normal((arguments.items, DIMENSION), dtype=np.float32)
    kinds: dict[str, dict[str, Any]] = {"without vectors": {}, f"with {DIMENSION}-d vectors": {"vectors": vectors}}
    for what, further in kinds.items():
        for repeat in range(arguments.repeats):
            before, cpu = megabytes(peak=False), time.process_time()
            found = evaluate_lists(lists, targets, item_count=arguments.items, ks=KS, **facts, **further)
            cpu = time.process_time() - cpu
            print(
                f"{what}, run {repeat + 1}: {found.seconds:.2f} s ({cpu:.2f} s of processor), {len(found.metrics)} figures, "
                f"{max(megabytes(peak=True) - before, 0):,.0f} MB above the inputs"
            )
    some = np.arange(min(arguments.peer_users, arguments.users))
    part, own_targets = RankedLists(items[some], lists.scores[some]), targets.take(some)
    seconds, values = measure_peer(items[some], own_targets)
    own = min(evaluate_lists(part, own_targets, item_count=arguments.items, ks=KS).seconds for _ in range(arguments.repeats))
    ours = evaluate_lists(part, own_targets, item_count=arguments.items, ks=KS).metrics
    worst = max(abs(ours[name] - value) for name, value in values.items())
    print(f"shared measures, {len(some):,} users: ours {own:.3f} s, ir-measures {seconds:.2f} s, ratio {seconds / own:.0f}, "
          f"largest difference {worst:.1e}")  # fmt: skip


if __name__ == "__main__":
    main()
