"""Seconds and size of the report of five runs, in a process of its own, with and without results measured before.

    RECSMITH_DATA=… python benchmarks/report_speed.py [--data $RECSMITH_DATA/ml-latest-small] [--folder /tmp/report-runs]

Goal: at most 20 s and 5 MB for five runs on ml-latest-small. The runs (popularity, item-kNN, EASE, and two auto-encoders trained for two
epochs: how good they are does not matter here) are made once and kept in `--folder`. Prints one JSON document; `cpu_seconds` is what an
idle machine would take, `seconds` what this one took.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

RUNS = {
    "popularity": [],
    "item-knn": [],
    "ease": [],
    "mult-vae": ["--set", "training.epochs=2"],
    "mult-dae": ["--set", "training.epochs=2"],
}


def recsmith(*words: str) -> dict[str, float]:
    """Run one command; wall seconds and processor seconds."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    program = "from recsmith.cli import main; main()"
    subprocess.run([sys.executable, "-c", program, *words], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": round(time.perf_counter() - started, 1), "cpu_seconds": round(used, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.path.expandvars("$RECSMITH_DATA/ml-latest-small"))
    parser.add_argument("--folder", type=Path, default=Path("/tmp/report-runs"))
    options = parser.parse_args()
    for name, settings in RUNS.items():
        if not (options.folder / name / "card.json").exists():
            recsmith("run", name, "--data", options.data, "--out", str(options.folder / name), *settings)
    folders = [str(options.folder / name) for name in RUNS]
    for folder in folders:
        shutil.rmtree(Path(folder) / "evaluations", ignore_errors=True)
    out = options.folder / "report.html"
    figures = {"first": recsmith("report", *folders, "--out", str(out)), "again": recsmith("report", *folders, "--out", str(out))}
    megabytes = round(out.stat().st_size / 1e6, 2)
    print(json.dumps({"runs": len(folders), "data": options.data, **figures, "megabytes": megabytes, "cores": os.cpu_count(),
                      "load": os.getloadavg()[0], "machine": platform.machine()}, indent=2))  # fmt: skip


if __name__ == "__main__":
    main()
