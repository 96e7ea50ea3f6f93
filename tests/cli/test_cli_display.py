"""Progress on standard error, tables and JSON on standard output."""

from __future__ import annotations

import io
import json
import sys
import time

import numpy as np
import pytest

from recsmith.cli import display


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def test_lines_are_rare_and_say_what_is_left(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with display.showing_progress() as progress:
        for second in range(26):
            clock.now = 100.0 + second
            progress("training", second, 100)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == ["training: 10 of 100, about 1 min 30 s left", "training: 20 of 100, about 1 min 20 s left"]


def test_short_work_is_silent(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with display.showing_progress() as progress:
        for part in ("read", "split", "solve"):
            clock.now += 4
            progress(part, 1, 1)
    assert capsys.readouterr().err == ""


def test_bars_appear_after_two_seconds_and_vanish(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with display.showing_progress() as progress:
        progress("training", 1, 10)
        assert terminal.getvalue() == ""
        clock.now += 3
        progress("training", 2, 10)
    assert "training" in terminal.getvalue()


@pytest.mark.parametrize(("seconds", "text"), [(0.43, "0.4 s"), (12.4, "12 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_durations(seconds: float, text: str) -> None:
    assert display.duration(seconds) == text


def test_json_has_no_numbers_that_json_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    display.print_json({"a": float("nan"), "b": [np.float32(1.5), np.int64(3)], 4: float("inf"), "é": "é"})
    out = capsys.readouterr().out
    assert json.loads(out) == {"a": None, "b": [1.5, 3], "4": None, "é": "é"}
    assert "é" in out


def test_tables_leave_titles_alone(capsys: pytest.CaptureFixture[str]) -> None:
    display.print_table(["title", "score"], [["[bold]Brackets[/bold] stay", 0.12345], ["b", None]])
    out = capsys.readouterr().out
    assert "[bold]Brackets[/bold] stay" in out
    assert "0.1235" in out or "0.1234" in out


def test_people_see_the_main_metrics() -> None:
    names = ["Recall@5", "Recall@10", "MRR@5", "MRR@10", "Other@3", "Plain"]
    assert display.main_metrics(names) == ["Recall@5", "Recall@10", "MRR@10", "Other@3", "Plain"]
