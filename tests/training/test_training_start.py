from __future__ import annotations

import numpy as np
import pytest
import torch

from recsmith.errors import ConfigError
from recsmith.models.ease import Ease, EaseConfig
from recsmith.models.sasrec import Sasrec, SasrecConfig
from recsmith.training import StartConfig, start_items


def vectors() -> np.ndarray:
    return (np.random.default_rng(0).normal(size=(30, 12)) * np.arange(12, 0, -1)).astype(np.float32)


def test_pca_keeps_the_strongest_directions() -> None:
    model = Sasrec(SasrecConfig(dim=4, heads=2), items=30)
    start_items(model, vectors(), StartConfig(items="pca", item_std=0.05), seed=0)
    found = model.items.weight.detach().double().numpy()
    centred = vectors().astype(np.float64) - vectors().mean(0)
    left, strengths, _ = np.linalg.svd(centred, full_matrices=False)
    expected = left[:, :4] * strengths[:4]
    np.testing.assert_allclose(found @ found.T / (found**2).sum(), expected @ expected.T / (expected**2).sum(), atol=1e-6)
    assert found.std() == pytest.approx(0.05, rel=1e-4)


def test_fewer_directions_than_the_model_is_wide_leave_zeros() -> None:
    model = Sasrec(SasrecConfig(dim=16, heads=2), items=30)
    start_items(model, vectors(), StartConfig(items="pca"), seed=0)
    assert (model.items.weight[:, 12:] == 0).all()
    assert torch.isfinite(model.items.weight).all()


def test_a_random_projection_keeps_distances_about_as_they_were() -> None:
    model = Sasrec(SasrecConfig(dim=512, heads=2), items=30)
    start_items(model, vectors(), StartConfig(items="random-projection", item_std=1.0), seed=3)
    before, after = torch.pdist(torch.from_numpy(vectors())), torch.pdist(model.items.weight.detach())
    assert np.corrcoef(before, after)[0, 1] > 0.98


def test_models_without_an_embedding_are_refused() -> None:
    with pytest.raises(ConfigError, match="needs a model with an embedding of the items, which Ease has not"):
        start_items(Ease(EaseConfig(), items=30), vectors(), StartConfig(items="pca"), seed=0)
