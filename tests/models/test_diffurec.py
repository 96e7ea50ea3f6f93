from __future__ import annotations

from recsmith.models.diffurec import DiffuRec, DiffuRecConfig
from recsmith.testing import ScoreModelTests

SMALL = {"dim": 16, "layers": 1, "hidden": 32, "dropout": 0.0, "max_history": 8, "init_std": 0.1, "steps": 4}


class TestDiffuRec(ScoreModelTests):
    model_class = DiffuRec
    config = DiffuRecConfig.parse(SMALL)
    sequential = True
    steps = 300
