"""Runs of tokens against brute force: which there are, whose they are, and what they are worth together."""

from __future__ import annotations

import numpy as np
import pytest

from recsmith.decoding.substrings import SubstringIndex, log_odds_ratio
from recsmith.protocols import RankedLists

END = 1


def texts(items: int = 30) -> list[list[list[int]]]:
    random = np.random.default_rng(0)
    return [[random.integers(2, 7, random.integers(1, 6)).tolist() for _ in range(random.integers(0, 3))] for _ in range(items)]


def build(longest: int = 3) -> SubstringIndex:
    return SubstringIndex.build(texts(), begins=lambda row: range(len(row)), longest=longest, end=END)


def test_runs_are_those_of_the_texts_and_belong_to_whoever_has_them() -> None:
    index = build()
    expected: dict[tuple[int, ...], set[int]] = {}
    for item, rows in enumerate(texts()):
        for row in rows:
            for start in range(len(row)):
                expected.setdefault(tuple(row[start : start + 3]), set()).add(item)
    owners = {run: set(index.items[index.offsets[place] : index.offsets[place + 1]].tolist()) for place, run in enumerate(index.runs)}
    assert owners == expected
    assert index.shares.sum() == pytest.approx(1)
    for place, run in enumerate(index.runs):
        told = [int(index.tokens.levels[0][code]) for code in index.codes.table[place]]
        assert told == [*run, *[END] * (3 - len(run))]


def test_only_where_a_run_may_begin() -> None:
    index = SubstringIndex.build(texts(), begins=lambda row: [0], longest=9, end=END)
    assert {tuple(row) for rows in texts() for row in rows} == set(index.runs)
    with pytest.raises(ValueError, match="no item has a text"):
        SubstringIndex.build([[], []], begins=lambda row: [0], longest=2, end=END)


def test_grounded_scores_add_up_what_the_runs_are_worth() -> None:
    index = build()
    random = np.random.default_rng(1)
    found = np.stack([random.permutation(len(index))[:6] for _ in range(4)])
    found[0, 4:] = -1
    logs = np.where(found < 0, -np.inf, np.log(random.random(found.shape) * 0.9)).astype(np.float32)
    scores = index.grounded(RankedLists(found, logs), bias=0.5, power=2.0).numpy()
    for row in range(4):
        for item in range(30):
            own = [
                (max(0.0, np.log(p * (1 - q) / (q * (1 - p)))) + 0.5) ** 2
                for run, log in zip(found[row], logs[row].astype(float))
                if run in index.of_item[item]
                for p, q in [(np.exp(log), index.shares[run])]
            ]
            assert scores[row, item] == pytest.approx(sum(own), rel=1e-4)


def test_a_run_that_is_no_likelier_than_anywhere_is_worth_nothing() -> None:
    assert log_odds_ratio(np.log([0.1, 0.05]), np.array([0.1, 0.1])).tolist() == [pytest.approx(0), 0]
    assert np.isfinite(log_odds_ratio(np.array([0.0]), np.array([1.0]))).all()
