"""The loss curve as a picture, where matplotlib is installed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def draw_curve(rows: Sequence[dict[str, Any]], path: Path, *, metric: str = "NDCG@10") -> bool:
    """Write a PNG of training loss and one validation metric over epochs; False when matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return False

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
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
