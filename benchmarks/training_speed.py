"""Training speed beside RecBole (and for SASRec RecTools) on ml-100k, in one run on one machine.

    python benchmarks/training_speed.py --recbole VENV [--model mult-vae] [--rectools VENV] [--epochs 3]      (default: sasrec)

The goal is the validation NDCG@10 that RecBole reaches in `--epochs` epochs; printed are the training seconds (start-up and validation
excluded) that each library needs to get there, and of RecBole and recsmith the processor seconds, which are what counts on a shared
machine. The same for all: ml-100k out of RecBole's wheel, ordered by time with ties in file order, leave-one-out, full ranking (models of
sets mask what was seen, as RecBole does), the same width, depth and length (50), the machine's cores (or OMP_NUM_THREADS). Each peer
lives in a virtual environment of its own, made like this:

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
from typing import Any

import polars as pl

from recsmith.runtime import prepare_environment

prepare_environment()

HERE = Path(__file__).absolute().parent
SEQUENCE = {"max_history": 50, "batch_size": 64, "learning_rate": 2e-3}
TRANSFORMER = {"dim": 64, "layers": 2, "heads": 2, "hidden": 256, "max_history": 50, "dropout": 0.2}
SETS = {"max_history": 1000, "batch_size": 64, "learning_rate": 2e-3}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "sasrec": ("SASRec", {"model": TRANSFORMER, "training": SEQUENCE}),
    "bert4rec": ("BERT4Rec", {"model": {**TRANSFORMER, "mask_share": 0.4}, "training": SEQUENCE}),
    "gru4rec": ("GRU4Rec", {"model": {"dim": 64, "hidden": 128, "max_history": 50}, "training": SEQUENCE}),
    "mult-vae": ("MultiVAE", {"model": {"hidden": [256], "dim": 128}, "training": SETS}),
    "mult-dae": ("MultiDAE", {"model": {"hidden": [256, 128]}, "training": SETS}),
    "cdae": ("CDAE", {"model": {"dim": 64, "dropout": 0.5}, "training": SETS}),
    "recvae": ("RecVAE", {"model": {"hidden": 256, "dim": 64}, "training": SETS}),
    "diffrec": ("DiffRec", {"model": {"hidden": [256]}, "training": SETS}),
    "l-diffrec": ("LDiffRec", {"model": {"hidden": [256], "clusters": 1, "encoder_hidden": 256}, "training": SETS}),
}
"""Our recipe → RecBole's name of the model, and our settings, which match those in peers/recbole_model.py."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recbole", type=Path, required=True, help="virtual environment of RecBole")
    parser.add_argument("--model", choices=MODELS, default="sasrec")
    parser.add_argument("--rectools", type=Path, help="virtual environment of RecTools, for SASRec")
    parser.add_argument("--recbole-log", type=Path, help="what an earlier run of peers/recbole_model.py printed")
    parser.add_argument("--epochs", type=int, default=3, help="epochs of RecBole that set the goal")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log = write_log(arguments.recbole, Path(folder))
        recbole = recbole_lines(arguments, Path(folder))
        goal = recbole[-1]["NDCG@10"]
        runs = {"RecBole 1.2.1": recbole}
        if arguments.rectools is not None and arguments.model == "sasrec":
            runs["RecTools 0.19"] = peer(arguments.rectools, "rectools_sasrec.py", Path(folder) / "log.csv", 200, goal, writes=Path(folder))
        runs["recsmith"] = time_recsmith(arguments.model, log, goal)
    report(arguments.model, goal, runs)


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
    return peer(arguments.recbole, "recbole_model.py", MODELS[arguments.model][0], folder, arguments.epochs, writes=folder)


def peer(environment: Path, script: str, *arguments: object, writes: Path) -> list[dict[str, float]]:
    """What a peer's script prints as JSON; it runs in the folder `writes`, because peers leave logs where they run."""
    command = [str(environment.absolute() / "bin" / "python"), str(HERE / "peers" / script), *map(str, arguments)]
    output = subprocess.run(command, capture_output=True, text=True, check=True, cwd=writes).stdout
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def time_recsmith(name: str, frame: pl.DataFrame, goal: float) -> list[dict[str, float]]:
    """Our own loop, stopped at the first validation at or above the goal."""
    import numpy as np
    import torch

    from recsmith.building import build_model
    from recsmith.data import Dataset
    from recsmith.decoding import top_k
    from recsmith.evaluation import evaluate_lists
    from recsmith.protocols import Limits, Observer
    from recsmith.recipe import load_recipe
    from recsmith.training import to_batch, train

    recipe = load_recipe(name, settings=MODELS[name][1])
    recipe = recipe.with_settings({"training": {"epochs": 200, "patience": None, "validate_every": 0.2}})
    data = Dataset.from_frame(frame.rename({"position": "timestamp"}), name="ml-100k")
    split = data.split(recipe.split)
    torch.manual_seed(0)
    model: Any = build_model(recipe, items=split.items, codes=None)
    if isinstance(model, Observer):
        model.observe(split.train)
    rows: list[dict[str, float]] = []
    cases = split.validation
    limits = Limits(exclude=cases.histories) if MODELS[name][1]["training"] is SETS else Limits()
    import_what_steps_need()
    clock = Clock()

    def validate() -> dict[str, float]:
        clock.stop()
        model.eval()
        with torch.inference_mode():
            lists = top_k(model.score(to_batch(cases.histories, users=cases.users)), 10, limits=limits)
        model.train()
        ndcg = evaluate_lists(lists, cases.targets, item_count=split.items, ks=(10,)).metrics["NDCG@10"]
        rows.append({"epoch": (len(rows) + 1) / 5, "seconds": clock.seconds, "processor": clock.processor, "NDCG@10": ndcg})
        if ndcg >= goal:
            raise _Reached
        clock.start()
        return {"NDCG@10": ndcg}

    try:
        train(model, split.train, recipe.training, validate=validate, users=np.arange(len(split.train)), seed=0)
    except _Reached:
        return rows
    return rows


def import_what_steps_need() -> None:
    """torch imports its compiler at the first step of an optimiser (a second); RecBole has imported it by the time its clock starts."""
    import torch

    weight = torch.zeros(1, requires_grad=True)
    weight.sum().backward()
    torch.optim.AdamW([weight], fused=True).step()


class Clock:
    """Wall and processor seconds between `start` and `stop`, added up; running from the beginning."""

    def __init__(self) -> None:
        self.seconds = self.processor = 0.0
        self.start()

    def start(self) -> None:
        self._started, self._busy = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        self.seconds += time.perf_counter() - self._started
        self.processor += time.process_time() - self._busy


class _Reached(Exception):
    """The goal is reached: stop the clock."""


def report(model: str, goal: float, runs: dict[str, list[dict[str, float]]]) -> None:
    print(f"{model}: goal is validation NDCG@10 = {goal:.4f}")
    ours = runs["recsmith"][-1]
    for name, rows in runs.items():
        last = rows[-1]
        reached = "reached" if last["NDCG@10"] >= goal else "NOT reached"
        line = f"{name:14s} {last['seconds']:8.1f} s  {last['epoch']:5.1f} epochs  NDCG@10 {last['NDCG@10']:.4f} ({reached})  "
        line += f"{last['seconds'] / ours['seconds']:6.1f} x recsmith's time"
        if "processor" in last:
            line += f"; processor {last['processor']:8.1f} s, {last['processor'] / ours['processor']:6.1f} x"
        print(line)
    print(json.dumps(runs))


if __name__ == "__main__":
    main()
