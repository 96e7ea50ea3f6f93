from __future__ import annotations

import numpy as np
import pytest
import torch

from recsmith.data import Histories
from recsmith.errors import ConfigError, UserError
from recsmith.models import ease
from recsmith.models.ease import Ease, EaseConfig
from recsmith.testing import ScoreModelTests
from recsmith.training import to_batch


class TestEase(ScoreModelTests):
    model_class = Ease
    config = EaseConfig(regularisation=5)


def _random_rows(rows: int, items: int, seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.integers(0, items, random.integers(0, 12)) for _ in range(rows)]


def test_matches_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ease, "_BLOCK", 7)  # several blocks, the last one short
    items, rows = 30, _random_rows(200, 30)
    dense = np.zeros((len(rows), items))
    for row, values in enumerate(rows):
        dense[row, values] = 1
    inverse = np.linalg.inv(dense.T @ dense + 3 * np.eye(items))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    model = Ease(EaseConfig(regularisation=3), items=items)
    histories = Histories.from_rows(rows)
    model.solve(histories)
    np.testing.assert_allclose(model.weights.numpy(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.score(to_batch(histories)).numpy(), dense @ expected, rtol=1e-4, atol=1e-5)


def test_each_column_is_a_ridge_regression_on_the_other_items() -> None:
    """The zero diagonal makes column j the ridge solution that predicts item j from all others."""
    items, rows = 12, _random_rows(150, 12, seed=1)
    dense = np.zeros((len(rows), items))
    for row, values in enumerate(rows):
        dense[row, values] = 1
    model = Ease(EaseConfig(regularisation=2), items=items)
    model.solve(Histories.from_rows(rows))
    others = [item for item in range(items) if item != 4]
    left = dense[:, others]
    solution = np.linalg.solve(left.T @ left + 2 * np.eye(len(others)), left.T @ dense[:, 4])
    np.testing.assert_allclose(model.weights[others, 4].numpy(), solution, rtol=1e-4, atol=1e-6)


def test_too_many_items_are_refused_before_memory_is_taken() -> None:
    with pytest.raises(UserError, match=r"given 50,000 items and `max_items` allows 40,000.*`item-knn`"):
        Ease(EaseConfig(), items=50_000)
    with pytest.raises(UserError, match=r"EASE needs .* GiB for 5,000,000 items and this machine has"):
        Ease(EaseConfig(max_items=10_000_000), items=5_000_000)


def test_regularisation_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="`regularisation` = 0"):
        EaseConfig.parse({"regularisation": 0})


def test_unsolved_model_scores_zero() -> None:
    model = Ease(EaseConfig(), items=3)
    assert torch.equal(model.score(to_batch(Histories.from_rows([[1], []]))), torch.zeros(2, 3))
