from __future__ import annotations

from typing import Any

import torch

from recsmith.models.vqrec import Vqrec, VqrecConfig
from recsmith.testing.logs import ITEMS, full_codes
from recsmith.testing.models import ScoreModelTests

SMALL = {"dim": 16, "layers": 1, "heads": 2, "hidden": 32, "dropout": 0.0, "max_history": 8, "init_std": 0.1}


class TestVqrec(ScoreModelTests):
    model_class = Vqrec
    config = VqrecConfig.parse(SMALL)
    sequential = True

    def build(self) -> Any:
        return Vqrec(self.config, items=ITEMS, codes=full_codes())


def test_an_item_is_the_mean_of_its_codes() -> None:
    codes = full_codes()
    model = Vqrec(VqrecConfig.parse(SMALL), items=ITEMS, codes=codes)
    first = [0, codes.sizes[0], codes.sizes[0] + codes.sizes[1]]
    numbers = torch.from_numpy(codes.table) + torch.tensor(first)
    torch.testing.assert_close(model._item_table(), model.items.vectors.weight[numbers].mean(1))
