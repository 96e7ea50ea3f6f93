"""What people see: tables on standard output, progress with time left on standard error, JSON and nothing else where it is asked for."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from recsmith.evaluation.significance import Interval

PATIENCE = 2.0
"""Seconds that work may take before a bar appears."""
LINE_EVERY = 10.0
"""Seconds between two lines of progress where standard error is not a terminal."""
_WIDTH_IN_FILES = 160
_EVERY_CUTOFF = ("Recall", "NDCG")


@contextmanager
def showing_progress() -> Iterator[ProgressLines | ProgressBars]:
    """Yields a `Progress`: bars with time left on a terminal, a line now and then elsewhere; always on standard error."""
    if not sys.stderr.isatty():
        yield ProgressLines()
        return
    bars = ProgressBars()
    try:
        yield bars
    finally:
        bars.close()


class ProgressLines:
    """Progress for logs: at most one line every `LINE_EVERY` seconds, none for work that ends sooner."""

    def __init__(self) -> None:
        self._what = ""
        self._started = self._said = time.monotonic()

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what != self._what:
            self._what, self._started, self._said = what, now, now
        if now - self._said < LINE_EVERY:
            return
        self._said = now
        print(f"{what}: {_amount(done, total)}{_left(now - self._started, done, total)}", file=sys.stderr, flush=True)

    def message(self, line: str) -> None:
        """A line of its own, at once."""
        note(line)


class ProgressBars:
    """Progress for terminals: one bar at a time, shown once the work has taken `PATIENCE` seconds."""

    def __init__(self) -> None:
        self._what = ""
        self._started = 0.0
        self._bars: Bars | None = None
        self._task: TaskID | None = None

    def __call__(self, what: str, done: int, total: int) -> None:
        if what != self._what:
            self.close()
            self._what, self._started = what, time.monotonic()
        if self._bars is None and time.monotonic() - self._started > PATIENCE:
            self._open(what, total)
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=done, total=total or None)

    def close(self) -> None:
        """Remove the bar, so that what follows is printed on a clean line."""
        if self._bars is not None:
            self._bars.stop()
        self._bars = self._task = None
        self._what = ""

    def message(self, line: str) -> None:
        """A line above the bar."""
        if self._bars is None:
            note(line)
        else:
            self._bars.console.print(line, highlight=False, markup=False)

    def _open(self, what: str, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left:"))
        self._bars = RichProgress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
        self._task = self._bars.add_task(what, total=total or None)
        self._bars.start()


def _amount(done: int, total: int) -> str:
    return f"{done:,} of {total:,}" if total else f"{done:,}"


def _left(elapsed: float, done: int, total: int) -> str:
    if not done or total <= done:
        return ""
    return f", about {duration(elapsed / done * (total - done))} left"


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def interval(found: Interval) -> str:
    """`0.0123 … 0.0456`."""
    return f"{found.low:.4f} … {found.high:.4f}"


def say(text: str = "") -> None:
    """A line on standard output."""
    print(text)


def note(text: str) -> None:
    """A remark on standard error, so that it never mixes with an answer."""
    print(f"note: {' '.join(text.split())}", file=sys.stderr)


def print_json(value: Any) -> None:
    """One JSON document on standard output; numbers that JSON lacks (nan, infinity) become null."""
    print(json.dumps(_plain(value), indent=2, ensure_ascii=False, default=str, allow_nan=False))


def print_table(headings: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str | None = None) -> None:
    """A table; columns that hold only numbers are set to the right, None is blank."""
    from rich import box
    from rich.table import Table

    if title is not None:
        say(title)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column, heading in enumerate(headings):
        numbers = all(isinstance(row[column], int | float | None) for row in rows)
        table.add_column(heading, justify="right" if numbers else "left", overflow="fold", no_wrap=numbers)
    for row in rows:
        table.add_row(*(cell(value) for value in row))
    _console().print(table, markup=False, highlight=False)


def cell(value: Any) -> Any:
    """A value as text in a table: four decimals, thousands apart, blank for None."""
    from rich.text import Text

    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return "undefined" if math.isnan(value) else f"{round(value, 4) + 0.0:.4f}"  # never -0.0000
    return Text(str(value))


def main_metrics(names: Iterable[str]) -> list[str]:
    """The metrics that a table for people shows: Recall and NDCG at every cutoff, the others at 10 (or at their only one)."""
    names = list(names)
    kept = []
    for name in names:
        metric, _, cutoff = name.partition("@")
        at_ten = f"{metric}@10"
        if metric in _EVERY_CUTOFF or cutoff == "10" or at_ten not in names:
            kept.append(name)
    return kept


def print_markdown(text: str) -> None:
    """Markdown, set for reading on a terminal and left as it is in a pipe or file."""
    if not sys.stdout.isatty():
        print(text, end="")
        return
    from rich.markdown import Markdown

    _console().print(Markdown(text))


def _console() -> Console:
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=_WIDTH_IN_FILES)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
