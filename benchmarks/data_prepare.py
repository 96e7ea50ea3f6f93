"""Seconds and peak memory of preparing a large log: read, validate, encode, split, save, in a process of its own.

    python benchmarks/data_prepare.py                     # 10 million events as CSV
    python benchmarks/data_prepare.py --format parquet    # the same as Parquet
    python benchmarks/data_prepare.py --ids text          # users and items named by text

Goal: under 15 s and 3 GB on 2 cores. The generated file is reused from `--folder`; prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl


def generate(file: Path, *, events: int, users: int, items: int, ids: str) -> None:
    """A log with Zipf-like popularity of the items, in no order of time."""
    random = np.random.default_rng(0)
    weights = 1 / np.arange(1, items + 1) ** 0.8
    item = np.searchsorted(np.cumsum(weights / weights.sum()), random.random(events)).clip(0, items - 1)
    frame = pl.DataFrame(
        {
            "customer_no": random.integers(0, users, events),
            "sku": item,
            "ts": 1_600_000_000 + random.integers(0, 10**8, events),
            "rating": random.integers(1, 11, events) / 2,
        }
    )
    if ids == "text":
        names = {"customer_no": "customer-", "sku": "article-number-"}
        frame = frame.with_columns(pl.format(prefix + "{}", pl.col(name)).alias(name) for name, prefix in names.items())
    frame.write_parquet(file) if file.suffix == ".parquet" else frame.write_csv(file)


def prepare(file: Path, out: Path) -> dict[str, Any]:
    """What `recsmith data prepare` and the start of `recsmith fit` do."""
    from recsmith.data import Dataset, SplitConfig, ViewConfig

    seconds: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = work()
        seconds[name] = round(time.perf_counter() - start, 2)
        return result

    start = time.perf_counter()
    dataset = timed("read and validate", lambda: Dataset.from_path(file, columns={"user": "customer_no", "item": "sku", "time": "ts"}))
    timed("content hash", lambda: dataset.hash)
    timed("save", lambda: dataset.save(out))
    split = timed("encode and split", lambda: dataset.split(SplitConfig(), view=ViewConfig(min_user_events=5, min_item_events=5)))
    seconds["all"] = round(time.perf_counter() - start, 2)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cost = {"cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2), "peak_gb": round(usage.ru_maxrss / 1024**2, 2)}
    return {"seconds": seconds, **cost, "train_events": len(split.train.values), "test_cases": len(split.test)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--users", type=int, default=500_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--format", choices=("csv", "parquet"), default="csv")
    parser.add_argument("--ids", choices=("integer", "text"), default="integer")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "recsmith-data-prepare")
    parser.add_argument("--prepare", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.prepare:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as out:
            print(json.dumps(prepare(arguments.prepare, Path(out) / "prepared")))
        return
    arguments.folder.mkdir(parents=True, exist_ok=True)
    file = arguments.folder / f"log-{arguments.events}-{arguments.users}-{arguments.items}-{arguments.ids}.{arguments.format}"
    if not file.exists():
        generate(file, events=arguments.events, users=arguments.users, items=arguments.items, ids=arguments.ids)
    command = [sys.executable, __file__, "--prepare", str(file), "--folder", str(arguments.folder)]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    machine = {"machine": platform.machine(), "threads": pl.thread_pool_size(), "polars": pl.__version__}
    print(json.dumps({"events": arguments.events, "format": arguments.format, "ids": arguments.ids, **machine, **result}, indent=2))


if __name__ == "__main__":
    main()
