"""Lists a second of `recsmith serve` beside what somebody would write: FastAPI before RecTools' SASRec, and before implicit's ALS.

    python benchmarks/serving_peers.py --rectools VENV [--items 100000] [--seconds 8]

One machine, one run, one after the other, the same log, catalogue and load; SASRec of the same size, one CPU thread each. Ours also writes
down every list that it serves and reads the person's live history; no answer is kept. The peers' virtual environment is made like this:

    pip install torch==2.13.0 "rectools[torch]==0.19.0" fastapi "uvicorn[standard]" implicit
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
from answer_latency import make_data, untrained
from serving_load import load, questions, start, used

from recsmith.data import Dataset

PORT = 8765


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rectools", type=Path, required=True, help="virtual environment of RecTools, FastAPI and implicit")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=8.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = make_data(arguments.items)
        recommender = untrained("sasrec", data, 20)
        recommender.save(folder / "run")
        write_log(data, folder / "log.csv")
        config = {name: getattr(recommender.model.config, name) for name in ("layers", "heads", "dim", "max_history")}
        print(f"{arguments.items:,} items, {config}; load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        peers: dict[str, list[tuple[float, float]]] = {}
        for which, name in (("rectools", "FastAPI + RecTools SASRec"), ("implicit", "FastAPI + implicit ALS")):
            with peer(arguments.rectools, which, folder / "log.csv", config) as pid:
                peers[name] = [measure(name, pid, PORT, arguments.seconds, connections) for connections in (1, 8)]
        process, url = start(folder / "run", folder, 0)
        try:
            port = int(url.rpartition(":")[2])
            ours = [measure("recsmith SASRec", process.pid, port, arguments.seconds, connections) for connections in (1, 8, 32)]
        finally:
            process.kill()
            process.wait()
        for name, theirs in peers.items():
            compare(name, theirs, ours)


def compare(name: str, theirs: list[tuple[float, float]], ours: list[tuple[float, float]]) -> None:
    """Our largest rate at a p99 that is no worse than that at which the peer reaches its largest."""
    rate, limit = max(theirs)
    quick = [reached for reached, late in ours if late <= limit]
    if quick:
        print(f"{max(quick) / rate:5.1f} x {name} at a p99 of at most {1000 * limit:.0f} ms")
    else:
        print(f"      {name} has a lower p99 at its largest rate than any of ours; largest rates: {max(ours)[0] / rate:.2f} x")


@contextmanager
def peer(environment: Path, which: str, log: Path, config: dict[str, int]) -> Iterator[int]:
    words = [environment / "bin" / "python", Path(__file__).parent / "peers" / "serving.py", which, log, PORT, json.dumps(config)]
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=settings)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", f"{which} did not start"
        time.sleep(2)
        yield process.pid
    finally:
        process.kill()
        process.wait()


def measure(name: str, pid: int, port: int, seconds: float, connections: int) -> tuple[float, float]:
    """Lists a second, and the 99th percentile in seconds."""
    before = used(pid)
    taken, wall = asyncio.run(load(port, questions(), seconds, connections))
    ordered = sorted(taken)
    late = ordered[int(0.99 * (len(ordered) - 1))]
    cpu = used(pid) - before
    print(
        f"{name:28s} {connections:2d} connections {len(taken) / wall:8,.1f} / s   p50 {1000 * statistics.median(ordered):7.1f} ms   "
        f"p99 {1000 * late:7.1f} ms   {1000 * cpu / len(taken):7.2f} ms of CPU each",
        flush=True,
    )
    return len(taken) / wall, late


def write_log(data: Dataset, path: Path) -> None:
    """The log that ours has, by the same ids."""
    log = data.log()
    histories = log.histories
    frame = pl.DataFrame(
        {"user_id": log.users.raw(histories.rows), "item_id": log.items.raw(histories.values), "position": range(len(histories.values))}
    )
    frame.write_csv(path)


if __name__ == "__main__":
    main()
