"""The published figures of yoochoose-100k come out of `benchmarks/session_lists.py`, which measures ours by the same functions."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from recsmith.data import Dataset


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "session_lists.py"
    spec = importlib.util.spec_from_file_location("session_lists", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["session_lists"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.realdata
@pytest.mark.skipif("RECSMITH_DATA" not in os.environ, reason="needs the folder that RECSMITH_DATA names")
def test_published_lists_have_their_golden_figures(benchmark: ModuleType) -> None:
    folder = Path(os.environ["RECSMITH_DATA"]) / "yoochoose-100k"
    positions = benchmark.asked(folder, Dataset.from_path(folder))
    assert (len(positions.targets), len(set(positions.sessions))) == (387, 99)
    found = {name: benchmark.measured(benchmark.published(folder, name), positions) for name in benchmark.PUBLISHED}
    figures = {name: [f"{values[metric].mean():.4f}" for metric in benchmark.METRICS] for name, values in found.items()}
    assert figures == {
        "ar": ["0.5917", "0.3160"],
        "sr": ["0.5607", "0.3275"],
        "vsknn": ["0.6098", "0.3342"],
        "gru4rec": ["0.5711", "0.3289"],
    }


def test_intervals_resample_whole_sessions(benchmark: ModuleType) -> None:
    values = np.tile([0.0, 1.0], 50)
    wide = benchmark.interval(np.repeat([0.0, 1.0], 50), [0] * 50 + [1] * 50)
    narrow = benchmark.interval(values, list(range(100)))
    assert wide == (0.0, 1.0)
    assert 0.35 < narrow[0] < 0.45
    assert 0.55 < narrow[1] < 0.65
