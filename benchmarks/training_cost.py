"""How training cost grows: with the number of people at one distribution of lengths, and apart from that with the length of histories.

    python benchmarks/training_cost.py [--out FOLDER] [--models sasrec,gru4rec,hstu,mult-vae] [--rounds 3]

Synthetic logs over 2,000 items: 500, 2,000 and 8,000 people with 8 to 32 events; and 500 people with 16, 64 and 256 events each, read
whole. Printed and plotted per model: processor seconds of an epoch (the fastest of `--rounds`, after one to warm up), and the slope in the
double logarithm: 1 is linear. Training alone is timed, no validation.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from recsmith.runtime import prepare_environment

prepare_environment()

import numpy as np  # noqa: E402
import torch  # noqa: E402

from recsmith.building import build_model  # noqa: E402
from recsmith.data import Histories, offsets_of  # noqa: E402
from recsmith.errors import import_extra  # noqa: E402
from recsmith.recipe import load_recipe  # noqa: E402
from recsmith.training.batches import batches, training_rows  # noqa: E402
from recsmith.training.optimizer import make_optimizer  # noqa: E402

ITEMS = 2_000
GROWTH = (1, 4, 16)
PEOPLE, LENGTH = 500, 16
AXES = ("people", "events per person")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder for training_cost.png")
    parser.add_argument("--models", default="sasrec,gru4rec,hstu,mult-vae")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    names = arguments.models.split(",")
    figures = {axis: {name: [cost(name, axis, factor, arguments.rounds) for factor in GROWTH] for name in names} for axis in AXES}
    for axis, costs in figures.items():
        base = PEOPLE if axis == "people" else LENGTH
        print(f"\n{axis:20s}" + "".join(f"{base * factor:>10,}" for factor in GROWTH) + "     slope   (processor seconds of an epoch)")
        for name, seconds in costs.items():
            print(f"{name:20s}" + "".join(f"{value:10.3f}" for value in seconds) + f"{slope(seconds):10.2f}")
    if arguments.out is not None:
        plot(figures, arguments.out / "training_cost.png")


def cost(name: str, axis: str, factor: int, rounds: int) -> float:
    """Processor seconds of an epoch at `factor` times the base of `axis`."""
    longest = LENGTH * factor if axis == "events per person" else 2 * LENGTH
    histories = log(PEOPLE * factor, LENGTH // 2, 2 * LENGTH) if axis == "people" else log(PEOPLE, longest, longest)
    recipe = load_recipe(name, settings={"training": {"max_history": longest, "batch_size": 64}})
    if "max_history" in recipe.model.settings:
        recipe = recipe.with_settings({"model": {"max_history": longest}})
    torch.manual_seed(0)
    model = build_model(recipe, items=ITEMS, codes=None).train()
    optimizer = make_optimizer(model, recipe.training)
    rows = training_rows(histories, max_history=longest)
    fastest, step = float("inf"), 0
    for epoch in range(rounds + 1):
        started = time.process_time()
        for batch in batches(rows, batch_size=recipe.training.batch_size, seed=0, epoch=epoch):
            optimizer.zero_grad(set_to_none=True)
            model.loss(batch, step).backward()  # type: ignore[operator]
            optimizer.step()
            step += 1
        fastest = min(fastest, time.process_time() - started) if epoch else fastest
    return fastest


def log(people: int, shortest: int, longest: int) -> Histories:
    """Random histories with lengths spread evenly between two bounds, an hour between events."""
    random = np.random.default_rng(0)
    lengths = random.integers(shortest, longest + 1, people)
    offsets = offsets_of(lengths)
    return Histories(random.integers(0, ITEMS, offsets[-1]), offsets, np.arange(offsets[-1]) * 3600.0)


def slope(seconds: list[float]) -> float:
    """Of the line through the points in the double logarithm."""
    return float(np.polyfit(np.log(GROWTH), np.log(seconds), 1)[0])


def plot(figures: dict[str, dict[str, list[float]]], path: Path) -> None:
    figure = import_extra("matplotlib.figure", extra="plot", purpose="the picture").Figure(figsize=(11, 4.5), layout="constrained")
    panels = figure.subplots(1, len(figures))
    for panel, (axis, costs) in zip(panels, figures.items(), strict=True):
        base = PEOPLE if axis == "people" else LENGTH
        for name, seconds in costs.items():
            panel.loglog([base * factor for factor in GROWTH], seconds, marker="o", label=f"{name} (slope {slope(seconds):.2f})")
        panel.set_xlabel(axis)
        panel.set_ylabel("processor seconds of an epoch")
        panel.set_xticks([base * factor for factor in GROWTH], [f"{base * factor:,}" for factor in GROWTH])
        panel.minorticks_off()
        panel.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    print(f"\npicture: {path}")


if __name__ == "__main__":
    main()
