"""Training speed of SASRec beside RecBole and RecTools on ml-100k, in one run on one machine.

    python benchmarks/training_speed.py --recbole VENV --rectools VENV [--epochs 3]

The goal is the validation NDCG@10 that RecBole reaches in `--epochs` epochs; printed are the training seconds (start-up and validation
excluded) that each library needs to get there. The same for all: ml-100k out of RecBole's wheel, ordered by time with ties in file
order, leave-one-out, full ranking without masking, d = 64, 2 layers, 2 heads, length 50, the machine's cores. Each peer lives in a
virtual environment of its own, made like this:

    recbole: pip install torch==2.13.0 recbole==1.2.1 numpy==1.26.4 "pandas<3" "scipy<1.16" "scikit-learn<1.7" "setuptools<81"
    rectools: pip install torch==2.13.0 "rectools[torch]==0.19.0"
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

import polars as pl

from recsmith.runtime import prepare_environment

prepare_environment()

HERE = Path(__file__).parent
SETTINGS = {
    "model": {"dim": 64, "layers": 2, "heads": 2, "max_history": 50, "dropout": 0.2},
    "training": {"max_history": 50, "batch_size": 64, "learning_rate": 2e-3, "epochs": 40, "patience": None},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recbole", type=Path, required=True, help="virtual environment of RecBole")
    parser.add_argument("--rectools", type=Path, required=True, help="virtual environment of RecTools")
    parser.add_argument("--recbole-log", type=Path, help="what an earlier run of peers/recbole_sasrec.py printed")
    parser.add_argument("--epochs", type=int, default=3, help="epochs of RecBole that set the goal")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log = write_log(arguments.recbole, Path(folder))
        recbole = recbole_lines(arguments, Path(folder))
        goal = recbole[-1]["NDCG@10"]
        ours = time_recsmith(log, goal)
        rectools = peer(arguments.rectools, "rectools_sasrec.py", Path(folder) / "log.csv", 200, goal)
    report(goal, {"RecBole 1.2.1": recbole, "RecTools 0.19": rectools, "recsmith": ours})


def write_log(recbole: Path, folder: Path) -> pl.DataFrame:
    """ml-100k with a counter for time, so that no library has a tie to break; as CSV and as RecBole's atomic file."""
    source = next(recbole.glob("lib/python3*/site-packages/recbole/dataset_example/ml-100k/ml-100k.inter"))
    frame = pl.read_csv(source, separator="\t")
    frame = frame.rename({name: name.partition(":")[0] for name in frame.columns}).with_row_index("row")
    frame = frame.sort("user_id", "timestamp", "row").with_columns(position=pl.int_range(1, pl.len() + 1).over("user_id"))
    frame = frame.select("user_id", "item_id", "position")
    frame.write_csv(folder / "log.csv")
    (folder / "log").mkdir()
    typed = {"user_id": "user_id:token", "item_id": "item_id:token", "position": "timestamp:float"}
    frame.with_columns(pl.col("position").cast(pl.Float64)).rename(typed).write_csv(folder / "log" / "log.inter", separator="\t")
    return frame


def recbole_lines(arguments: argparse.Namespace, folder: Path) -> list[dict[str, float]]:
    if arguments.recbole_log is not None:
        return [json.loads(line) for line in arguments.recbole_log.read_text().splitlines() if line.startswith("{")]
    return peer(arguments.recbole, "recbole_sasrec.py", folder, arguments.epochs)


def peer(environment: Path, script: str, *arguments: object) -> list[dict[str, float]]:
    command = [str(environment / "bin" / "python"), str(HERE / "peers" / script), *map(str, arguments)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def time_recsmith(frame: pl.DataFrame, goal: float) -> list[dict[str, float]]:
    """Our own loop, stopped at the first validation at or above the goal."""
    import numpy as np
    import torch

    from recsmith.data import Dataset
    from recsmith.decoding import top_k
    from recsmith.evaluation import evaluate_lists
    from recsmith.recipe import load_recipe
    from recsmith.recommender import build_model
    from recsmith.training import to_batch, train

    recipe = load_recipe("sasrec", settings=SETTINGS)
    data = Dataset.from_frame(frame.rename({"position": "timestamp"}), name="ml-100k")
    split = data.split(recipe.split)
    torch.manual_seed(0)
    model = build_model(recipe, items=split.items, codes=None)
    rows: list[dict[str, float]] = []
    clock = {"start": time.perf_counter(), "validation": 0.0}

    def validate() -> dict[str, float]:
        started = time.perf_counter()
        model.eval()
        with torch.inference_mode():
            lists = top_k(model.score(to_batch(split.validation.histories)), 10)
        model.train()
        ndcg = evaluate_lists(lists, split.validation.targets, item_count=split.items, ks=(10,)).metrics["NDCG@10"]
        seconds = started - clock["start"] - clock["validation"]
        rows.append({"epoch": len(rows) + 1, "seconds": seconds, "NDCG@10": ndcg})
        if ndcg >= goal:
            raise _Reached
        clock["validation"] += time.perf_counter() - started
        return {"NDCG@10": ndcg}

    try:
        train(model, split.train, recipe.training, validate=validate, users=np.arange(len(split.train)), seed=0)
    except _Reached:
        return rows
    return rows


class _Reached(Exception):
    """The goal is reached: stop the clock."""


def report(goal: float, runs: dict[str, list[dict[str, float]]]) -> None:
    print(f"goal: validation NDCG@10 = {goal:.4f}")
    ours = runs["recsmith"][-1]["seconds"]
    for name, rows in runs.items():
        last = rows[-1]
        reached = "reached" if last["NDCG@10"] >= goal else "NOT reached"
        print(
            f"{name:14s} {last['seconds']:8.1f} s  {len(rows):3d} epochs  {last['seconds'] / len(rows):7.2f} s an epoch  "
            f"NDCG@10 {last['NDCG@10']:.4f} ({reached})  {last['seconds'] / ours:6.1f} x recsmith's time"
        )
    print(json.dumps(runs))


if __name__ == "__main__":
    main()
