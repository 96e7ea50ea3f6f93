from __future__ import annotations

from typing import Any

import numpy as np
import torch

from recsmith.models.tcf import Tcf, TcfConfig
from recsmith.testing.logs import ITEMS
from recsmith.testing.models import ScoreModelTests

SMALL = {"dim": 16, "layers": 1, "heads": 2, "hidden": 32, "dropout": 0.0, "text_dropout": 0.0, "max_history": 8, "init_std": 0.1}


class TestTcf(ScoreModelTests):
    model_class = Tcf
    config = TcfConfig.parse(SMALL)
    sequential = True
    steps = 100

    def build(self) -> Any:
        return Tcf(self.config, items=ITEMS, vectors=np.random.default_rng(0).normal(size=(ITEMS, 10)).astype(np.float32))


def test_the_number_of_dense_layers_is_that_of_the_config() -> None:
    for count in (1, 3):
        model = Tcf(TcfConfig.parse({**SMALL, "text_layers": count}), items=4, vectors=np.ones((4, 10)))
        assert sum(isinstance(layer, torch.nn.Linear) for layer in model.transform) == count
        assert model._item_table().shape == (4, 16)
