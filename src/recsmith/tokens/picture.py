"""The code tree as a picture: how many items stand under each first and second code, and the titles of the most popular."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recsmith.errors import StorageError, UserError, import_extra, suggestion

SUFFIXES = (".svg", ".png", ".pdf")
"""Kinds of pictures."""
_COLOURS = ("#1f5fa8", "#8a4b08", "#2f7d4f", "#7a3e9d", "#a8323e", "#4a5560")
_LETTERS = 46


def draw_code_tree(tree: Sequence[dict[str, Any]], path: Path, *, title: str) -> Path:
    """Write the picture of a `code_tree`: one block per first code, its second codes as bars beside it, titles as text.

    The suffix of `path` chooses the kind. Raises `MissingExtraError` without matplotlib, `StorageError` when it cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise UserError(f"`{path}` ends in `{path.suffix}`; {suggestion(path.suffix, SUFFIXES)}")
    figures = import_extra("matplotlib.figure", extra="plot", purpose="the picture of the code tree")
    rows = sum(max(1, len(node["children"])) for node in tree)
    figure = figures.Figure(figsize=(11, 1.2 + 0.5 * max(1, rows)), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlim(0, 10)
    axes.set_ylim(rows, 0)
    axes.axis("off")
    largest = max((child["items"] for node in tree for child in node["children"] or [node]), default=1)
    top = 0
    for place, node in enumerate(tree):
        top += _draw_node(axes, node, top, largest, _COLOURS[place % len(_COLOURS)])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        matplotlib = import_extra("matplotlib", extra="plot", purpose="the picture of the code tree")
        with matplotlib.rc_context({"svg.hashsalt": "recsmith", "svg.fonttype": "none"}):
            figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
    except OSError as error:
        raise StorageError(f"cannot write `{path}`: {error.strerror or error}; free some space or choose another place") from error
    return path


def _draw_node(axes: Any, node: dict[str, Any], top: int, largest: int, colour: str) -> int:
    """A first code with its second codes; returns the rows that it takes."""
    children = node["children"] or [node]
    height = len(children)
    axes.add_patch(_box(0.0, top, 1.5, height, colour))
    axes.text(0.75, top + height / 2, f"{node['prefix'][0]}\n{node['items']:,} items", ha="center", va="center", color="white", fontsize=9)
    for row, child in enumerate(children):
        width = 0.3 + 2.2 * child["items"] / largest
        axes.add_patch(_box(1.6, top + row, width, 1, colour, alpha=0.35))
        axes.text(1.7, top + row + 0.5, f"{' '.join(map(str, child['prefix']))} · {child['items']:,}", va="center", fontsize=8)
        titles = "; ".join(_short(title) for title in child["titles"][:2])
        axes.text(4.3, top + row + 0.5, titles, va="center", fontsize=8, parse_math=False)
    return height


def _box(left: float, top: float, width: float, height: float, colour: str, *, alpha: float = 1.0) -> Any:
    patches = import_extra("matplotlib.patches", extra="plot", purpose="the picture of the code tree")
    return patches.Rectangle((left, top + 0.06), width, height - 0.12, facecolor=colour, alpha=alpha, linewidth=0)


def _short(title: str) -> str:
    return title if len(title) <= _LETTERS else f"{title[: _LETTERS - 1].rstrip()}…"
