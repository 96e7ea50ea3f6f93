from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from recsmith.models.rlmrec import Rlmrec, RlmrecConfig
from recsmith.testing.logs import ITEMS, checkerboard
from recsmith.testing.models import ScoreModelTests
from recsmith.training import to_batch

SMALL = {"dim": 8, "layers": 2, "max_history": 8}


def texts() -> np.ndarray:
    """Noise that says a little about the parity of the item."""
    vectors = np.random.default_rng(0).normal(size=(ITEMS, 10)).astype(np.float32)
    vectors[:, 0] += np.arange(ITEMS) % 2
    return vectors


class TestRlmrec(ScoreModelTests):
    model_class = Rlmrec
    config = RlmrecConfig.parse(SMALL)
    steps = 60

    def build(self) -> Any:
        return Rlmrec(self.config, items=ITEMS, vectors=texts())


def test_scores_are_lightgcns() -> None:
    histories = checkerboard(users=10)
    model = Rlmrec(RlmrecConfig.parse(SMALL), items=ITEMS, vectors=texts()).eval()
    model.observe(histories)
    adjacency = torch.zeros(10, ITEMS)
    adjacency[torch.from_numpy(histories.rows), torch.from_numpy(histories.values)] = 1
    with torch.no_grad():
        items, people = [model.items.weight], [adjacency @ model.items.weight / adjacency.sum(1, keepdim=True)]
        weights = adjacency / (adjacency.sum(1, keepdim=True) * adjacency.sum(0).clamp(min=1)).sqrt()
        for _ in range(2):
            people, items = [*people, weights @ items[-1]], [*items, weights.T @ people[-1]]
        expected = torch.stack(people).mean(0) @ torch.stack(items).mean(0).T
        torch.testing.assert_close(model.score(to_batch(histories)), expected, rtol=1e-4, atol=1e-6)


def test_contrast_brings_representations_to_their_texts() -> None:
    """After training on the alignment almost alone, each item's nearest text is its own."""
    suite = TestRlmrec()
    suite.config = RlmrecConfig.parse({**SMALL, "dim": 16, "weight": 100.0})  # type: ignore[misc]
    model = suite.fit(checkerboard(), steps=100)
    with torch.no_grad():
        represented, images = model._item_tables(model.items.weight).mean(0), model.network(model.texts.values)
        nearest = (F.normalize(represented, dim=1) @ F.normalize(images, dim=1).T).argmax(1)
    assert (nearest == torch.arange(ITEMS)).float().mean() >= 0.9


def test_generation_learns_to_tell_masked_texts() -> None:
    suite = TestRlmrec()
    suite.config = RlmrecConfig.parse({**SMALL, "align": "generative", "weight": 100.0, "mask_share": 0.3})  # type: ignore[misc]
    losses = []
    for steps in (1, 100):
        model = suite.fit(checkerboard(), steps=steps)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            losses.append(np.mean([float(model._generated(torch.arange(ITEMS))) for _ in range(30)]))
    assert losses[1] < 0.9 * losses[0]


@torch.no_grad()
def test_an_event_does_not_predict_itself() -> None:
    model = suite_model()
    items, offsets = torch.tensor([0, 2, 4, 1]), torch.tensor([0, 3, 4])
    tables = model._item_tables(model.items.weight)
    found = model._without_own(model._people(items, offsets, tables), items, offsets, tables)
    others = {0: [2, 4], 1: [0, 4], 2: [0, 2]}
    degrees = model.graph.degrees(ITEMS)
    for event, rest in others.items():
        steps = [tables[0][rest].mean(0)]
        steps += [sum(tables[step][item] / (3 * degrees[item]).sqrt() for item in rest) for step in range(2)]
        torch.testing.assert_close(found[event], sum(steps) / 3)
    assert torch.allclose(found[3], torch.zeros(8), atol=1e-6)


def suite_model() -> Rlmrec:
    model = Rlmrec(RlmrecConfig.parse(SMALL), items=ITEMS, vectors=texts()).eval()
    model.observe(checkerboard())
    return model
