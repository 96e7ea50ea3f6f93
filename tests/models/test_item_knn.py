from __future__ import annotations

import numpy as np
import pytest
import torch

from recsmith.data import Histories
from recsmith.models import item_knn
from recsmith.models.item_knn import ItemKnn, ItemKnnConfig, Similarity
from recsmith.testing import ScoreModelTests
from recsmith.training import to_batch


class TestItemKnn(ScoreModelTests):
    model_class = ItemKnn
    config = ItemKnnConfig()


class TestConditionalItemKnn(ScoreModelTests):
    model_class = ItemKnn
    config = ItemKnnConfig(similarity="conditional", neighbours=5, shrinkage=0, recency=1)


def _log(rows: int = 120, items: int = 25) -> tuple[Histories, np.ndarray]:
    random = np.random.default_rng(0)
    histories = Histories.from_rows([random.integers(0, items, random.integers(0, 10)) for _ in range(rows)])
    dense = np.zeros((rows, items))
    dense[histories.rows, histories.values] = 1
    return histories, dense


@pytest.mark.parametrize("similarity", ["cosine", "conditional", "jaccard"])
def test_matches_dense_arithmetic(similarity: Similarity, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_knn, "_BLOCK", 7)
    monkeypatch.setattr(item_knn, "_ENTRIES", 50)
    histories, dense = _log()
    both, people = dense.T @ dense, dense.sum(0)
    first, second = people[:, None], people[None, :]
    bottom = {"cosine": np.sqrt(first * second), "conditional": first + 0 * second, "jaccard": first + second - both}[similarity]
    table = both / (bottom + 2)
    np.fill_diagonal(table, 0)
    for row in table:
        row[np.argsort(-row, kind="stable")[6:]] = 0
    model = ItemKnn(ItemKnnConfig(similarity=similarity, neighbours=6, shrinkage=2, recency=1), items=25)
    model.solve(histories)
    np.testing.assert_allclose(model.score(to_batch(histories)).numpy(), dense @ table, rtol=1e-5, atol=1e-6)


def test_recent_events_weigh_more_and_a_repeated_item_counts_once() -> None:
    histories, _ = _log()
    model = ItemKnn(ItemKnnConfig(recency=0.5), items=25)
    model.solve(histories)
    one, two, both = model.score(to_batch(Histories.from_rows([[3], [8], [8, 3, 8, 3]])))
    torch.testing.assert_close(both, one + 0.5 * two)


def test_neighbours_are_limited_per_item() -> None:
    histories, _ = _log()
    model = ItemKnn(ItemKnnConfig(neighbours=4), items=25)
    model.solve(histories)
    assert model.starts.diff().max() == 4
    assert len(model.neighbours) == len(model.similarities) == model.starts[-1]
    assert not (model.neighbours == torch.repeat_interleave(torch.arange(25), model.starts.diff())).any()


def test_items_without_company_have_no_neighbours() -> None:
    model = ItemKnn(ItemKnnConfig(), items=5)
    model.solve(Histories.from_rows([[0], [1], [2, 2], []]))
    assert len(model.neighbours) == 0
    assert model.score(to_batch(Histories.from_rows([[0, 1, 4]]))).abs().max() == 0
