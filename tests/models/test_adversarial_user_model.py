from __future__ import annotations

from itertools import combinations

import pytest
import torch

from recsmith.data import Histories
from recsmith.models.adversarial_user_model import AdversarialUserModel, AdversarialUserModelConfig
from recsmith.protocols import HistoryBatch
from recsmith.testing import SlateModelTests
from recsmith.training import to_batch

SMALL = {
    "slate": 3, "dim": 16, "hidden": 24, "dropout": 0.3, "max_history": 8, "init_std": 0.1, "negatives": 6, "pretraining_steps": 120,
}  # fmt: skip


class TestAdversarialUserModel(SlateModelTests):
    model_class = AdversarialUserModel
    config = AdversarialUserModelConfig.parse(SMALL)
    steps = 200


def pages(users: int = 64) -> HistoryBatch:
    """Pages of three of six items; item i is picked against the others and nothing with weight WEIGHTS[i], whatever came before."""
    random = torch.Generator().manual_seed(1)
    shown = torch.stack([torch.randperm(6, generator=random)[:3] for _ in range(users * 4)])
    weights = torch.cat([WEIGHTS[shown], torch.ones(len(shown), 1)], 1)
    picked = weights.multinomial(1, generator=random)
    clicks = (torch.arange(3) == picked).float()
    rows = Histories.from_rows(shown.reshape(users, 12).tolist())
    times = (torch.arange(users * 12) // 3).double().numpy()
    return to_batch(Histories(rows.values, rows.offsets, times, clicks.reshape(-1).numpy()))


WEIGHTS = torch.tensor([8.0, 4.0, 2.0, 1.0, 0.5, 0.25])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_players_neither_collapse_nor_diverge_and_meet_at_the_truth(seed: int) -> None:
    batch = pages()
    torch.manual_seed(seed)
    settings = {**SMALL, "gap": 0, "negatives": 0, "dropout": 0.0, "pretraining_steps": 120, "discount": 0.0}
    model = AdversarialUserModel(AdversarialUserModelConfig.parse(settings), items=6)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(220):
        optimizer.zero_grad()
        model.loss(batch, step).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        nobody = model._open(HistoryBatch(batch.items[:0], torch.zeros(2, dtype=torch.int64)))
        rewards = nobody.rewards[0]
        picks = model.picks(nobody.states, torch.arange(6)[None])[0]
        every = torch.tensor(list(combinations(range(6), 3)))
        values = (model.picks(nobody.states.expand(len(every), -1), every)[:, :-1] * rewards[every]).sum(1)
        page = model._page(model.cascade, nobody)[0][0].sort().values
    assert torch.corrcoef(torch.stack([rewards, WEIGHTS.log()]))[0, 1] > 0.9
    torch.testing.assert_close(picks, torch.cat([rewards, torch.zeros(1)]).softmax(0), atol=0.1, rtol=0.3)  # the saddle point
    found = values[(every == page).all(1)].item()
    assert found > values.mean().item() + 0.8 * (values.max() - values.mean()).item()


def test_the_page_policy_leaves_the_user_model_alone() -> None:
    torch.manual_seed(0)
    model = AdversarialUserModel(AdversarialUserModelConfig.parse(SMALL), items=12)
    batch = to_batch(Histories.from_rows([[1, 2, 3, 4], [3], []]))

    def moved(step: int) -> set[str]:
        model.zero_grad(set_to_none=True)
        model.loss(batch, step).backward()
        return {name.split(".")[0] for name, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()}

    assert moved(0) == {"reader", "reward", "behaviour"}
    assert moved(120) == {"cascade"}
