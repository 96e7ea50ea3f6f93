from __future__ import annotations

from typing import Any

import numpy as np
import torch

from recsmith.data import Histories
from recsmith.models.zesrec import Zesrec, ZesrecConfig
from recsmith.testing.logs import ITEMS, cycles
from recsmith.testing.models import ScoreModelTests
from recsmith.training import to_batch


def texts() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(ITEMS, 10)).astype(np.float32)


class TestZesrec(ScoreModelTests):
    model_class = Zesrec
    config = ZesrecConfig(dim=16, hidden=24, dropout=0.0, max_history=8)
    sequential = True
    steps = 100

    def build(self) -> Any:
        return Zesrec(self.config, items=ITEMS, vectors=texts())


def test_it_answers_over_a_catalogue_that_it_was_not_trained_on() -> None:
    """The same circle of texts under other item numbers, with strangers between: zero-shot."""
    suite = TestZesrec()
    trained = suite.fit(cycles())
    place = np.random.default_rng(1).permutation(2 * ITEMS)[:ITEMS]
    elsewhere = np.random.default_rng(2).normal(size=(2 * ITEMS, 10)).astype(np.float32) * 0.1
    elsewhere[place] = texts()
    other = Zesrec(suite.config, items=2 * ITEMS, vectors=elsewhere).eval()
    other.load_state_dict(trained.state_dict())
    asked = Histories.from_rows([[start, (start + 1) % ITEMS, (start + 2) % ITEMS] for start in range(ITEMS)])
    with torch.no_grad():
        found = other.score(to_batch(asked.with_values(place[asked.values]))).argmax(1).numpy()
    assert np.mean(found == place[(np.arange(ITEMS) + 3) % ITEMS]) >= 0.9
