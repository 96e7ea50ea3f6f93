"""The report's pictures, as SVG drawn for the width of a phone: figures with intervals, cost, groups, popularity, scores against hits."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from recsmith.comparison import Comparison
from recsmith.errors import import_extra
from recsmith.report.curves import HitCurve, PopularityCurve
from recsmith.report.groups import Grouping

_INK = "#1f2933"
_GRID = "#d9dee4"
_COLOUR = "#1f5fa8"
_BASELINE = "#8a4b08"
_COLOURS = ("#8a4b08", "#1f5fa8", "#1b7340", "#7b2d8b", "#a3123f", "#4a5560", "#00707a", "#6b5d00")
"""Dark enough on white for lines and marks; told apart by mark and dash as well."""
_MARKS = "Dos^vP*X"
_DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))
_WIDTH = 4.2
"""Inches; the page shows the picture no wider than its column, so that letters stay readable on a phone."""


def interval_plot(comparison: Comparison, names: Sequence[str]) -> str:
    """Each run's metric with its interval, one line per run, as a data URI."""
    figure, axes = _canvas(height=0.9 + 0.42 * len(names))
    for place, figured in enumerate(comparison.figures):
        colour = _BASELINE if place == 0 else _COLOUR
        axes.plot([figured.interval.low, figured.interval.high], [place, place], color=colour, linewidth=2.5)
        axes.plot([figured.mean], [place], marker="o" if place else "D", color=colour, markersize=7)
    axes.set_yticks(range(len(names)), [_short(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(f"{comparison.metric}, {comparison.split}, {1 - comparison.alpha:.0%} interval")
    axes.grid(axis="x", color=_GRID)
    return _data_uri(figure)


def cost_plot(points: Sequence[tuple[str, float, float]], *, metric: str) -> str:
    """`(name, seconds of training, metric)` of each run, seconds on a logarithmic axis, as a data URI."""
    figure, axes = _canvas(height=3.0)
    for place, (name, seconds, value) in enumerate(points):
        axes.plot([seconds], [value], marker=_mark(place), color=_colour(place), markersize=8, linestyle="none", label=_short(name))
    axes.set_xscale("log")
    axes.margins(x=0.2, y=0.2)
    axes.set_xlabel("seconds of training (logarithmic)")
    axes.set_ylabel(metric)
    axes.grid(color=_GRID)
    _legend(figure, len(points))
    return _data_uri(figure)


def group_plot(grouping: Grouping, names: Sequence[str], *, metric: str) -> str:
    """A bar with its interval for each group and system, as a data URI."""
    labels = [group.label for group in grouping.groups]
    figure, axes = _canvas(height=0.9 + len(labels) * (0.18 + 0.2 * len(names)))
    thick = 0.8 / len(names)
    for place, name in enumerate(names):
        rows = np.arange(len(labels)) - 0.4 + thick * (place + 0.5)
        cells = [group.figures[place] for group in grouping.groups]
        axes.barh(rows, [cell.mean for cell in cells], height=thick * 0.85, color=_colour(place), label=_short(name))
        for row, cell in zip(rows, cells, strict=True):
            axes.plot([cell.low, cell.high], [row, row], color=_INK, linewidth=1.2)
    axes.set_yticks(range(len(labels)), [_short(label) for label in labels])
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"{metric}, with intervals")
    axes.grid(axis="x", color=_GRID)
    _legend(figure, len(names))
    return _data_uri(figure)


def popularity_plot(curves: Sequence[PopularityCurve], trained: PopularityCurve) -> str:
    """Cumulative share of what is shown over the catalogue in order of popularity, as a data URI."""
    figure, axes = _canvas(height=3.0)
    axes.plot(trained.catalogue, trained.shown, color=_INK, linewidth=1.2, linestyle=(0, (1, 2)), label="training events")
    for place, curve in enumerate(curves):
        axes.plot(curve.catalogue, curve.shown, color=_colour(place), linestyle=_DASHES[place % 8], linewidth=2, label=_short(curve.name))
    axes.set_xlabel("share of the catalogue, most popular first")
    axes.set_ylabel("share of what is shown")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.grid(color=_GRID)
    _legend(figure, len(curves) + 1)
    return _data_uri(figure)


def hit_plot(curves: Sequence[HitCurve]) -> str:
    """Share of listed items that were hits by the place of their score among all scores of the system, as a data URI."""
    figure, axes = _canvas(height=3.0)
    for place, curve in enumerate(curves):
        style = {"color": _colour(place), "marker": _mark(place), "linestyle": _DASHES[place % 8], "markersize": 5}
        counts = np.array([part.count for part in curve.bins])
        middle = (np.cumsum(counts) - counts / 2) / counts.sum()
        axes.plot(middle, [part.observed for part in curve.bins], label=_short(curve.name), **style)
    axes.set_xlabel("place among the system's scores, lowest = 0")
    axes.set_ylabel("share that were hits")
    axes.set_ylim(bottom=0)
    axes.grid(color=_GRID)
    _legend(figure, len(curves))
    return _data_uri(figure)


def _canvas(*, height: float) -> tuple[Any, Any]:
    figures = import_extra("matplotlib.figure", extra="plot", purpose="a report's pictures")
    figure = figures.Figure(figsize=(_WIDTH, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    return figure, axes


def _legend(figure: Any, entries: int) -> None:
    if entries > 1:
        figure.legend(loc="outside upper left", ncols=2, fontsize=8.5, frameon=False)


def _colour(place: int) -> str:
    return _COLOURS[place % len(_COLOURS)]


def _mark(place: int) -> str:
    return _MARKS[place % len(_MARKS)]


def _short(name: str, length: int = 22) -> str:
    return name if len(name) <= length else f"{name[: length - 1].rstrip()}…"


def _data_uri(figure: Any) -> str:
    matplotlib = import_extra("matplotlib", extra="plot", purpose="a report's pictures")
    stream = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "recsmith"}):  # ids, and so the file, are the same every time
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(stream.getvalue()).decode()
