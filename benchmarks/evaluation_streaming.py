"""Full-ranking evaluation of a catalogue that does not fit: scores in blocks, lists in batches, memory fixed by the two sizes.

    OMP_NUM_THREADS=2 python benchmarks/evaluation_streaming.py                       # 2,000 users × 1,000,000 items
    OMP_NUM_THREADS=2 python benchmarks/evaluation_streaming.py --items 100000        # the same memory but for the factors

All scores together would be users x items x 4 bytes (8 GB at the default). The peak of memory is what it exceeds the memory in use just
before by (Linux only): it grows neither with users nor with items, beyond the lists and the counts of exposure.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np

from recsmith.data import Cases, Histories, offsets_of
from recsmith.evaluation import evaluate_answer
from recsmith.evaluation.ranking import answer_in_blocks
from recsmith.seeding import generator

FACTORS = 32


def random_rows(random: np.random.Generator, rows: int, *, low: int, high: int, values: int) -> Histories:
    lengths = random.integers(low, high + 1, rows)
    return Histories(random.integers(0, values, lengths.sum()), offsets_of(lengths))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=2_000)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--block", type=int, default=65_536)
    arguments = parser.parse_args()

    random = generator(0, "evaluation_streaming")
    users = random.standard_normal((arguments.users, FACTORS), dtype=np.float32)
    items = random.standard_normal((arguments.items, FACTORS), dtype=np.float32)
    cases = Cases(
        np.arange(arguments.users),
        random_rows(random, arguments.users, low=3, high=20, values=arguments.items),
        random_rows(random, arguments.users, low=1, high=10, values=arguments.items),
    )
    answer = answer_in_blocks(
        lambda asked, start, stop: users[asked.users] @ items[start:stop].T, item_count=arguments.items, block=arguments.block
    )
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6
    started = time.perf_counter()
    found = evaluate_answer(answer, cases, item_count=arguments.items, split="test", protocol={}, batch_size=arguments.batch)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6 - before
    whole = arguments.users * arguments.items * 4 / 1e6
    print(
        f"{arguments.users:,} users x {arguments.items:,} items in {seconds:.1f} s ({arguments.users / seconds:,.0f} users/s), "
        f"{peak:,.0f} MB above the inputs; all scores would be {whole:,.0f} MB; Recall@20 {found.metrics['Recall@20']:.6f}"
    )


if __name__ == "__main__":
    main()
