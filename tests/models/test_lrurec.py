from __future__ import annotations

import pytest
import torch

from recsmith.data import Histories
from recsmith.errors import ConfigError
from recsmith.models.lrurec import LruRec, LruRecConfig
from recsmith.testing.models import ScoreModelTests
from recsmith.training import TrainingConfig, to_batch, train

ITEMS = 20
SMALL = {"dim": 16, "state": 16, "layers": 1, "hidden": 32, "dropout": 0.0, "max_history": 8, "init_std": 0.1}


class TestLruRec(ScoreModelTests):
    model_class = LruRec
    config = LruRecConfig.parse(SMALL)
    sequential = True


def model(seed: int = 0, **settings: object) -> LruRec:
    torch.manual_seed(seed)
    return LruRec(LruRecConfig.parse({**SMALL, **settings}), items=ITEMS)


def walks(rows: int = 150) -> Histories:
    """Step 1, 2, 1, 2, … around the circle of items: only who looks back further than one event can tell what comes next."""
    return Histories.from_rows([[(row + (3 * step + row % 2) // 2) % ITEMS for step in range(4 + row % 7)] for row in range(rows)])


def test_learns_from_more_than_the_last_event() -> None:
    lru = model()
    train(lru, walks(), TrainingConfig(epochs=30, batch_size=50, learning_rate=0.01, device="cpu", precision="fp32"))
    histories = walks()
    guesses = lru.score(to_batch(histories.drop_last())).argmax(1).numpy()
    assert (guesses == histories.values[histories.offsets[1:] - 1]).mean() > 0.65  # who looks at the last event alone reaches half


def test_remembers_the_first_of_many_events() -> None:
    """Two kinds of rows that differ in their first event alone end differently, thirty events later."""
    rows = [[row % 2, *[4] * 30, 2 + row % 2] for row in range(40)]
    lru = model(max_history=40, smallest_decay=0.95, largest_decay=0.999)
    train(lru, Histories.from_rows(rows), TrainingConfig(epochs=30, batch_size=20, learning_rate=0.01, device="cpu"))
    scores = lru.score(to_batch(Histories.from_rows(rows).drop_last()))
    right = (scores[:, 2] > scores[:, 3]) == torch.tensor([row[0] == 0 for row in rows])
    assert right.float().mean() > 0.95


def test_training_in_half_precision_keeps_the_recurrence_whole() -> None:
    lru = model()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = lru.loss(to_batch(walks(20)), 0)
    loss.backward()
    assert abs(loss.item() - lru.loss(to_batch(walks(20)), 0).item()) < 0.05


def test_empty_histories_are_answered_with_what_people_begin_with() -> None:
    lru = model()
    histories = Histories.from_rows([[7, row % ITEMS] for row in range(100)])
    train(lru, histories, TrainingConfig(epochs=10, batch_size=25, learning_rate=0.02, device="cpu"))
    assert lru.score(to_batch(Histories.from_rows([[]]))).argmax().item() == 7


@pytest.mark.parametrize("rows", [[[3]], [[], []], [[], [4, 5]], [list(range(20))]], ids=str)
def test_any_batch_has_a_finite_loss_with_a_gradient(rows: list[list[int]]) -> None:
    lru = model()
    loss = lru.loss(to_batch(Histories.from_rows(rows)), 0)
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in lru.parameters())


def test_a_ring_turned_inside_out_is_a_mistake_of_the_user() -> None:
    with pytest.raises(ConfigError, match=r"`smallest_decay` = 0.9 must not exceed `largest_decay` = 0.5"):
        LruRecConfig.parse({"smallest_decay": 0.9, "largest_decay": 0.5})
