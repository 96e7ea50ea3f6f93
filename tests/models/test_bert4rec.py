from __future__ import annotations

import pytest
import torch

from recsmith.data import Histories
from recsmith.errors import ConfigError
from recsmith.models.bert4rec import Bert4Rec, Bert4RecConfig
from recsmith.testing.models import ScoreModelTests
from recsmith.training import TrainingConfig, to_batch, train

ITEMS = 20
SMALL = {"dim": 16, "layers": 1, "heads": 2, "hidden": 32, "dropout": 0.0, "max_history": 8, "init_std": 0.1}


class TestBert4Rec(ScoreModelTests):
    model_class = Bert4Rec
    config = Bert4RecConfig.parse({**SMALL, "mask_share": 0.3})
    sequential = True
    steps = 200


class TestBert4RecPreNormFromTheStart(ScoreModelTests):
    model_class = Bert4Rec
    config = Bert4RecConfig.parse({**SMALL, "norm": "pre", "positions": "start", "mask_share": 0.3})
    sequential = True
    steps = 200


def model(seed: int = 0, **settings: object) -> Bert4Rec:
    torch.manual_seed(seed)
    return Bert4Rec(Bert4RecConfig.parse({**SMALL, **settings}), items=ITEMS)


def walks(rows: int = 150) -> Histories:
    """Step 1, 2, 1, 2, … around the circle of items: only who looks back further than one event can tell what comes next."""
    return Histories.from_rows([[(row + (3 * step + row % 2) // 2) % ITEMS for step in range(4 + row % 7)] for row in range(rows)])


def test_learns_from_more_than_the_last_event() -> None:
    bert = model(last_share=0.5)
    train(bert, walks(), TrainingConfig(epochs=40, batch_size=50, learning_rate=0.02, device="cpu", precision="fp32"))
    histories = walks()
    guesses = bert.score(to_batch(histories.drop_last())).argmax(1).numpy()
    assert (guesses == histories.values[histories.offsets[1:] - 1]).mean() > 0.65  # who looks at the last event alone reaches half


def test_a_gap_is_filled_from_both_sides() -> None:
    """Each pair of neighbours has a middle of its own: one side alone leaves four of them."""
    rows = [[x, 4 + 4 * x + z, z] for x in range(4) for z in range(4)] * 4
    bert = model(mask_share=0.2, last_share=0.0)
    train(bert, Histories.from_rows(rows), TrainingConfig(epochs=100, batch_size=32, learning_rate=0.01, device="cpu"))
    batch = to_batch(Histories.from_rows(rows))
    masked = torch.tensor([False, True, False]).repeat(len(rows))
    filled = (bert(batch.items, masked, batch.offsets) @ bert.items.weight.T + bert.bias).argmax(1)
    assert (filled == batch.items[masked]).float().mean() > 0.9  # one side alone reaches a quarter


def test_masked_items_are_not_looked_at() -> None:
    bert = model().eval()
    offsets, masked = torch.tensor([0, 4]), torch.tensor([False, True, True, False])
    filled = bert(torch.tensor([1, 2, 3, 4]), masked, offsets)
    assert filled.shape == (2, 16)
    assert torch.equal(filled, bert(torch.tensor([1, 9, 7, 4]), masked, offsets))
    assert not torch.allclose(filled, bert(torch.tensor([1, 2, 3, 5]), masked, offsets))


@pytest.mark.parametrize(("mask_share", "last_share"), [(0.3, 0.2), (1e-6, 0.0), (1.0, 0.0), (0.5, 1.0)])
def test_masks_keep_to_their_shares(mask_share: float, last_share: float) -> None:
    bert = model(mask_share=mask_share, last_share=last_share)
    lengths = torch.arange(0, 9).repeat(400)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    rows = bert._draw(offsets, tokens=int(lengths.sum())).split(lengths.tolist())
    assert all(row.any() for row in rows if len(row))
    eights = torch.stack([row for row in rows if len(row) == 8]).float()
    expected = last_share / 8 + (1 - last_share) * (mask_share + (1 - mask_share) ** 8 / 8)
    assert abs(eights.mean().item() - expected) < 0.04
    if last_share == 1:
        assert (eights.sum(1) == 1).all()
        assert eights[:, -1].all()


def test_empty_histories_are_answered_with_what_people_begin_with() -> None:
    bert = model()
    histories = Histories.from_rows([[7] if row % 2 else [7, row % ITEMS] for row in range(100)])
    train(bert, histories, TrainingConfig(epochs=20, batch_size=25, learning_rate=0.02, device="cpu"))
    assert bert.score(to_batch(Histories.from_rows([[]]))).argmax().item() == 7


@pytest.mark.parametrize("rows", [[[3]], [[], []], [[], [4, 5]], [list(range(20))]], ids=str)
def test_any_batch_has_a_finite_loss_with_a_gradient(rows: list[list[int]]) -> None:
    bert = model()
    loss = bert.loss(to_batch(Histories.from_rows(rows)), 0)
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in bert.parameters())


def test_heads_that_do_not_divide_are_a_mistake_of_the_user() -> None:
    with pytest.raises(ConfigError, match="`dim` = 10 must be a multiple of `heads` = 3"):
        Bert4RecConfig.parse({"dim": 10, "heads": 3})
