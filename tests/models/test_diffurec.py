from __future__ import annotations

import torch

from recsmith.data import Histories
from recsmith.models.diffurec import DiffuRec, DiffuRecConfig
from recsmith.testing import ScoreModelTests
from recsmith.training import to_batch

SMALL = {"dim": 16, "layers": 1, "hidden": 32, "dropout": 0.0, "max_history": 8, "init_std": 0.1, "steps": 4}


class TestDiffuRec(ScoreModelTests):
    model_class = DiffuRec
    config = DiffuRecConfig.parse(SMALL)
    sequential = True
    steps = 300


def test_a_target_per_row_with_the_events_before_it() -> None:
    torch.manual_seed(0)
    model = DiffuRec(DiffuRecConfig.parse(SMALL), items=12)
    rows = [[1, 5, 7, 2], [], [3]]
    seen = set()
    for _ in range(60):
        targets, inputs, offsets = model._cut(to_batch(Histories.from_rows(rows)))
        assert targets.tolist()[1] == 3
        place = rows[0].index(int(targets[0]))
        assert inputs.tolist() == rows[0][:place]
        assert offsets.tolist() == [0, place, place]
        seen.add(place)
    assert seen == {0, 1, 2, 3}
