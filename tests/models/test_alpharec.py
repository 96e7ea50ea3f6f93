from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from recsmith.data import Histories
from recsmith.models.alpharec import Alpharec, AlpharecConfig
from recsmith.nn.graph import InteractionGraph
from recsmith.testing.logs import ITEMS, checkerboard
from recsmith.testing.models import ScoreModelTests
from recsmith.training import to_batch

CONFIG = AlpharecConfig(dim=8, hidden=16, negatives=32, max_history=8)


def texts() -> np.ndarray:
    """Noise that says a little about the parity of the item, as the paper supposes of language vectors."""
    vectors = np.random.default_rng(0).normal(size=(ITEMS, 10)).astype(np.float32)
    vectors[:, 0] += np.arange(ITEMS) % 2
    return vectors


class TestAlpharec(ScoreModelTests):
    model_class = Alpharec
    config = CONFIG
    steps = 80

    def build(self) -> Any:
        return Alpharec(self.config, items=ITEMS, vectors=texts())


def test_scores_are_those_of_dense_matrices() -> None:
    """LightGCN over the whole graph, people of the graph asked with the histories that they have in it."""
    histories = checkerboard(users=10)
    torch.manual_seed(0)
    model = Alpharec(CONFIG, items=ITEMS, vectors=texts()).eval()
    model.observe(histories)
    adjacency = torch.zeros(10, ITEMS)
    adjacency[torch.from_numpy(histories.rows), torch.from_numpy(histories.values)] = 1
    vectors = torch.from_numpy(texts())
    with torch.no_grad():
        people = [model.network(adjacency @ vectors / adjacency.sum(1, keepdim=True))]
        items = [model.network(vectors)]
        weights = adjacency / (adjacency.sum(1, keepdim=True) * adjacency.sum(0).clamp(min=1)).sqrt()
        for _ in range(2):
            people, items = [*people, weights @ items[-1]], [*items, weights.T @ people[-1]]
        expected = F.normalize(sum(people), dim=1) @ F.normalize(sum(items), dim=1).T
        torch.testing.assert_close(model.score(to_batch(histories)), expected, rtol=1e-4, atol=1e-5)


def test_items_without_events_are_scored_by_their_text() -> None:
    model = Alpharec(CONFIG, items=ITEMS, vectors=texts()).eval()
    model.observe(checkerboard())
    longer = Alpharec(CONFIG, items=ITEMS + 1, vectors=np.concatenate([texts(), texts()[:1]])).eval()
    longer.load_state_dict(model.state_dict())
    batch = to_batch(Histories.from_rows([[0, 2], [1]]))
    with torch.no_grad():
        before, after = model.score(batch), longer.score(batch)
    torch.testing.assert_close(after[:, :ITEMS], before)
    assert torch.isfinite(after).all()


def test_the_graph_counts_a_pair_once() -> None:
    graph = InteractionGraph()
    graph.set(torch.tensor([3, 3, 1, 3]), torch.tensor([0, 3, 3, 4]))
    assert graph.rows.tolist() == [0, 0, 2]
    assert graph.items.tolist() == [1, 3, 3]
    assert graph.degrees(5).tolist() == [1, 1, 1, 2, 1]
    means = graph.mean_of_items(torch.arange(5.0)[:, None])
    assert means[:, 0].tolist() == pytest.approx([2, 0, 3])
