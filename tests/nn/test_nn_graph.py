from __future__ import annotations

import numpy as np
import pytest
import torch

from recsmith.nn import graph
from recsmith.nn.graph import InteractionGraph


@pytest.mark.parametrize("dense_cells", [1 << 20, 0], ids=["all at once", "a few"])
@pytest.mark.parametrize("normalised", [True, False])
def test_item_axes_are_those_of_the_dense_matrix(monkeypatch: pytest.MonkeyPatch, normalised: bool, dense_cells: int) -> None:
    monkeypatch.setattr(graph, "_DENSE", dense_cells)
    random = np.random.default_rng(0)
    matrix = (random.random((30, 12)) < 0.3).astype(float)
    matrix[:, 11] = 0  # nobody had the last item
    rows, items = matrix.nonzero()
    found = InteractionGraph()
    found.set(torch.from_numpy(items), torch.from_numpy(np.concatenate([[0], np.bincount(rows, minlength=30).cumsum()])))
    axes = found.item_axes(12, dim=4, seed=0, normalised=normalised)
    if normalised:
        matrix = matrix / np.sqrt(np.outer(matrix.sum(1).clip(1), matrix.sum(0).clip(1)))
    _, strengths, right = np.linalg.svd(matrix)
    expected = right[:4].T * strengths[:4]
    torch.testing.assert_close(axes.abs(), torch.from_numpy(np.abs(expected)).float(), rtol=1e-4, atol=1e-5)
    assert (axes.gather(0, axes.abs().argmax(0, keepdim=True)) > 0).all()
    assert axes[11].abs().max() < 1e-6


def test_directions_that_do_not_exist_are_zero() -> None:
    found = InteractionGraph()
    found.set(torch.tensor([0, 1, 1]), torch.tensor([0, 2, 3]))
    axes = found.item_axes(5, dim=4, seed=0)
    assert axes.shape == (5, 4)
    assert axes[:, 2:].abs().max() == 0
    assert axes[:2, 0].abs().min() > 0
