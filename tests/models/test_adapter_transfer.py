from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from recsmith.models.adapter_transfer import AdapterTransfer, AdapterTransferConfig
from recsmith.testing.logs import ITEMS, awkward, cycles
from recsmith.testing.models import ScoreModelTests
from recsmith.training import to_batch

SMALL = {"dim": 16, "layers": 1, "heads": 2, "hidden": 32, "dropout": 0.0, "max_history": 8, "init_std": 0.1, "bottleneck": 4}


def build(items: int = ITEMS, **settings: Any) -> AdapterTransfer:
    vectors = np.random.default_rng(0).normal(size=(items, 10)).astype(np.float32)
    torch.manual_seed(0)
    return AdapterTransfer(AdapterTransferConfig.parse({**SMALL, **settings}), items=items, vectors=vectors)


class TestAdapterTransfer(ScoreModelTests):
    model_class = AdapterTransfer
    config = AdapterTransferConfig.parse({**SMALL, "adapters": "houlsby"})
    sequential = True
    steps = 80

    def build(self) -> Any:
        return AdapterTransfer(self.config, items=ITEMS, vectors=np.random.default_rng(0).normal(size=(ITEMS, 10)).astype(np.float32))


@pytest.mark.parametrize(("design", "count"), [("houlsby", 3), ("pfeiffer", 2), ("parallel", 3)])
def test_adapters_start_as_nothing_and_learn_alone(design: str, count: int) -> None:
    source = build().eval()
    target = build(adapters=design, tuned="adapters")
    missing, unexpected = target.load_state_dict(source.state_dict(), strict=False)
    assert not unexpected
    assert all(name.startswith("adapters.") for name in missing)
    assert len(target.adapters) == count
    with torch.no_grad():
        torch.testing.assert_close(target.eval().score(to_batch(awkward())), source.score(to_batch(awkward())))
    before = {name: value.clone() for name, value in target.state_dict().items()}
    optimizer = torch.optim.SGD([one for one in target.parameters() if one.requires_grad], lr=0.5)
    for step in range(3):
        optimizer.zero_grad()
        target.train().loss(to_batch(cycles()), step).backward()
        optimizer.step()
    moved = {name for name, value in target.state_dict().items() if not torch.equal(value, before[name])}
    assert any(name.startswith("adapters.") for name in moved)
    assert all("adapters." in name or "norm" in name for name in moved)
