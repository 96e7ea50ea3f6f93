"""The report's pictures, as SVG: every system with its interval, and quality against what it cost to train."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

from recsmith.comparison import Comparison
from recsmith.errors import import_extra

_INK = "#1f2933"
_COLOUR = "#1f5fa8"
_BASELINE = "#8a4b08"


def interval_plot(comparison: Comparison, names: Sequence[str]) -> str:
    """Each run's metric with its interval, one line per run, as a data URI."""
    figure, axes = _canvas(height=1.1 + 0.42 * len(names))
    for place, figured in enumerate(comparison.figures):
        colour = _BASELINE if place == 0 else _COLOUR
        axes.plot([figured.interval.low, figured.interval.high], [place, place], color=colour, linewidth=2.5)
        axes.plot([figured.mean], [place], marker="o" if place else "D", color=colour, markersize=7)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(f"{comparison.metric}, {comparison.split}, with {1 - comparison.alpha:.0%} interval")
    axes.grid(axis="x", color="#d9dee4")
    return _data_uri(figure)


def cost_plot(points: Sequence[tuple[str, float, float]], *, metric: str) -> str:
    """`(name, seconds of training, metric)` of each run, seconds on a logarithmic axis, as a data URI."""
    figure, axes = _canvas(height=3.4)
    for place, (name, seconds, value) in enumerate(points):
        axes.plot([seconds], [value], marker="o" if place else "D", color=_COLOUR if place else _BASELINE, markersize=8)
        axes.annotate(name, (seconds, value), xytext=(7, 5), textcoords="offset points", color=_INK, fontsize=9)
    axes.set_xscale("log")
    axes.margins(x=0.25, y=0.2)
    axes.set_xlabel("seconds of training (logarithmic)")
    axes.set_ylabel(metric)
    axes.grid(color="#d9dee4")
    return _data_uri(figure)


def _canvas(*, height: float) -> tuple[Any, Any]:
    figures = import_extra("matplotlib.figure", extra="plot", purpose="a report's pictures")
    figure = figures.Figure(figsize=(6.8, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _data_uri(figure: Any) -> str:
    matplotlib = import_extra("matplotlib", extra="plot", purpose="a report's pictures")
    stream = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "recsmith"}):  # ids, and so the file, are the same every time
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(stream.getvalue()).decode()
