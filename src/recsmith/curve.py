"""Training as pictures, where matplotlib is installed: the loss curve of one run, quality against cost of several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def draw_curve(rows: Sequence[dict[str, Any]], path: Path, *, metric: str = "NDCG@10") -> bool:
    """Write a PNG of training loss and one validation metric over epochs; False when matplotlib is not installed."""
    figure = _figure()
    if figure is None:
        return False
    losses = figure.add_subplot()
    epochs = [row["epoch"] for row in rows]
    losses.plot(epochs, [row["loss"] for row in rows], color="tab:gray", label="training loss")
    losses.set_xlabel("epoch")
    losses.set_ylabel("training loss")
    if all(metric in row for row in rows):
        quality = losses.twinx()
        quality.plot(epochs, [row[metric] for row in rows], color="tab:blue", marker=".", label=metric)
        quality.set_ylabel(f"validation {metric}", color="tab:blue")
    figure.savefig(path, dpi=120)
    return True


def draw_cost(points: Sequence[tuple[str, float | None, float | None]], path: Path, *, metric: str) -> bool:
    """Write a PNG of a test metric against training time: (name, seconds, value) of each run; runs without figures are left out.

    Returns False when matplotlib is not installed or nothing is left to draw.
    """
    figure = _figure()
    places = [(name, max(seconds, 0.01), value) for name, seconds, value in points if seconds is not None and value is not None]
    if figure is None or not places:
        return False
    axes = figure.add_subplot()
    axes.set_xscale("log")
    axes.set_xlabel("training time [s]")
    axes.set_ylabel(f"test {metric}")
    for name, seconds, value in places:
        axes.scatter(seconds, value, color="tab:blue")
        axes.annotate(name, (seconds, value), xytext=(4, 4), textcoords="offset points", fontsize=8)
    figure.savefig(path, dpi=120)
    return True


def _figure() -> Any:
    """An empty figure that can be written to a file; None without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return None
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
