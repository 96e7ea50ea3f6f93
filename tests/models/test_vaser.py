from __future__ import annotations

import pytest

from recsmith.models.vaser import Vaser, VaserConfig
from recsmith.testing import ScoreModelTests

SMALL = {"dim": 16, "hidden": 24, "latent": 12, "dropout": 0.0, "max_history": 8, "init_std": 0.1, "annealing_steps": 100}


class TestVaser(ScoreModelTests):
    model_class = Vaser
    config = VaserConfig.parse({**SMALL, "kl_weight": 0.01})
    sequential = True


class TestVaserWithCouplings(ScoreModelTests):
    model_class = Vaser
    config = VaserConfig.parse({**SMALL, "kl_weight": 0.01, "flow": "coupling", "flows": 2})
    sequential = True


@pytest.mark.parametrize("flow", ["planar", "coupling"])
def test_flows_are_made_as_asked(flow: str) -> None:
    model = Vaser(VaserConfig.parse({**SMALL, "flow": flow, "flows": 3}), items=5)
    assert [type(part).__name__ for part in model.flows.flows] == [f"{flow.title()}Flow"] * 3
