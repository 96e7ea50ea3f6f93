from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch import Tensor

from recsmith.data import Histories
from recsmith.decoding import Sampled, fill_slates, judge_slates
from recsmith.models.gfn4rec import Gfn4Rec, Gfn4RecConfig
from recsmith.protocols import HistoryBatch
from recsmith.testing import SlateModelTests
from recsmith.training import to_batch

SMALL = {"slate": 3, "dim": 16, "hidden": 24, "dropout": 0.3, "max_history": 8, "init_std": 0.1, "negatives": 6}


class TestGfn4Rec(SlateModelTests):
    model_class = Gfn4Rec
    config = Gfn4RecConfig.parse({**SMALL, "floor": 1.0})


class Known(Gfn4Rec):
    """Five items, lists of two, and a reward that is no product of parts: bundles in one order, and one item that is good anywhere."""

    def log_reward(self, states: Tensor, lists: Tensor) -> Tensor:
        first, second = lists.unbind(1)
        return (1.0 + 8.0 * ((first == 0) & (second == 1)) + 4.0 * ((first == 3) & (second == 2)) + 2.0 * (lists == 4).any(1)).log()


@pytest.mark.parametrize("balance", ["trajectory", "detailed"])
def test_lists_are_drawn_in_proportion_to_their_reward(balance: str) -> None:
    torch.manual_seed(0)
    model = Known(Gfn4RecConfig.parse({**SMALL, "slate": 2, "balance": balance, "lists": 48}), items=5)
    batch = to_batch(Histories.from_rows([[0]] * 48))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, total_iters=200)
    for step in range(200):
        optimizer.zero_grad()
        model.loss(batch, step).backward()
        optimizer.step()
        schedule.step()
    lists = torch.tensor(list(permutations(range(5), 2)))
    nobody = HistoryBatch(torch.zeros(0, dtype=torch.int64), torch.zeros(len(lists) + 1, dtype=torch.int64))
    rewards = model.log_reward(torch.empty(0), lists).exp()
    found = judge_slates(model.eval(), nobody, lists).sum(1).exp()
    torch.testing.assert_close(found, rewards / rewards.sum(), atol=0.01, rtol=0.1)
    total = model.flow.total(model.open_slate(nobody, 2, None))[0].item()
    assert total == pytest.approx(rewards.sum().log().item(), abs=0.1)
    many = HistoryBatch(nobody.items, torch.zeros(4001, dtype=torch.int64))
    drawn = torch.from_numpy(fill_slates(model, many, 2, sampled=Sampled(seed=1)).items)
    share = (drawn == torch.tensor([0, 1])).all(1).float().mean().item()
    assert share == pytest.approx((rewards[0] / rewards.sum()).item(), abs=0.03)
