"""Dense retrieval over 100,000 items with a filter: build time, recall of the approximate indexes, and time of one query.

    python benchmarks/retrieval_index.py [--items 100000] [--dim 384] [--queries 200] [--kinds exact,flat,ivf,hnsw]

Vectors are clustered and of length 1, as encoders make them; encoding is not in the time. Every query may answer a random half of the
items only. Recall@100 counts against the exact search under the same filter. One query at a time; OMP_NUM_THREADS says on how many threads.
Each time is printed as wall time and as processor time, since other work on the machine moves only the first.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from recsmith.protocols import Limits
from recsmith.retrieval import ExactIndex, FaissConfig, FaissIndex

K = 100
MAKERS: dict[str, Callable[[], Any]] = {
    "exact": ExactIndex,
    "flat": lambda: FaissIndex(FaissConfig(kind="flat")),
    "ivf": lambda: FaissIndex(FaissConfig(kind="ivf")),
    "hnsw": lambda: FaissIndex(FaissConfig(kind="hnsw")),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--kinds", default=",".join(MAKERS))
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    vectors, queries = make_vectors(arguments.items, arguments.dim, random), make_vectors(arguments.queries, arguments.dim, random)
    limits = Limits(allowed=random.random(arguments.items) < 0.5)
    print(f"{arguments.items:,} items × {arguments.dim}, half of them allowed, k = {K}, {arguments.queries} queries one at a time")
    truth = exact_answers(vectors, queries, limits)
    for kind in arguments.kinds.split(","):
        index = MAKERS[kind]()
        wall, processor = time.perf_counter(), time.process_time()
        index.add(np.arange(len(vectors)), vectors)
        built = time.perf_counter() - wall, time.process_time() - processor
        found, walls, processors = ask(index, queries, limits)
        recall = np.mean([len(np.intersect1d(row, true)) / K for row, true in zip(found, truth, strict=True)])
        p50, p99 = np.quantile(walls, [0.5, 0.99]) * 1e3
        print(
            f"{kind:6s} build {built[0]:6.1f} s ({built[1]:5.1f} s processor)   recall@{K} {recall:.4f}   "
            f"query p50 {p50:6.2f} ms, p99 {p99:6.2f} ms (processor p50 {1e3 * np.median(processors):6.2f} ms)"
        )


def make_vectors(count: int, dim: int, random: np.random.Generator) -> np.ndarray:
    """Unit vectors around 500 centres that lie in a space of 64 dimensions, with noise in all."""
    centres = np.random.default_rng(1).normal(size=(500, 64)).astype(np.float32)
    basis = np.random.default_rng(2).normal(size=(64, dim)).astype(np.float32) / 8
    inner = centres[random.integers(0, 500, count)] + 0.8 * random.normal(size=(count, 64)).astype(np.float32)
    vectors = inner @ basis + 0.2 * random.normal(size=(count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def exact_answers(vectors: np.ndarray, queries: np.ndarray, limits: Limits) -> list[np.ndarray]:
    assert limits.allowed is not None
    scores = queries @ vectors.T
    scores[:, ~limits.allowed] = -np.inf
    return [np.argpartition(-row, K)[:K] for row in scores]


def ask(index: Any, queries: np.ndarray, limits: Limits) -> tuple[list[np.ndarray], list[float], list[float]]:
    found, walls, processors = [], [], []
    for query in queries:
        wall, processor = time.perf_counter(), time.process_time()
        lists = index.search(query[None], K, limits=limits)
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
        found.append(lists.items[0])
    return found, walls, processors


if __name__ == "__main__":
    main()
