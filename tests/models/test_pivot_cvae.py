from __future__ import annotations

import torch

from recsmith.models.pivot_cvae import PivotCvae, PivotCvaeConfig
from recsmith.protocols import HistoryBatch
from recsmith.testing import SlateModelTests

SMALL = {"slate": 3, "dim": 16, "hidden": 24, "latent": 4, "dropout": 0.0, "max_history": 8, "init_std": 0.1, "annealing_steps": 100}


class TestPivotCvae(SlateModelTests):
    model_class = PivotCvae
    config = PivotCvaeConfig.parse({**SMALL, "pivots": "sampled"})
    sequential = True
    steps = 140


@torch.no_grad()
def test_what_follows_depends_on_the_pivot_alone() -> None:
    model = PivotCvae(PivotCvaeConfig.parse(SMALL), items=12).eval()
    state = model.open_slate(HistoryBatch(torch.tensor([1, 2]), torch.tensor([0, 2])), 3, None)
    third = [model.slot(state, torch.tensor([chosen])) for chosen in ([5, 6], [5, 7], [8, 6])]
    assert torch.equal(third[0], third[1])
    assert not torch.allclose(third[0], third[2])
