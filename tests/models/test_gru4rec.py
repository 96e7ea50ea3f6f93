from __future__ import annotations

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

from recsmith.data import Histories
from recsmith.models.gru4rec import Gru4Rec, Gru4RecConfig
from recsmith.testing.models import ScoreModelTests
from recsmith.training import TrainingConfig, to_batch, train

ITEMS = 20
SMALL = {"dim": 16, "hidden": 24, "dropout": 0.0, "max_history": 8, "init_std": 0.1}
OBJECTIVES = [
    {"loss": "cross-entropy"},
    {"loss": "cross-entropy", "vectors": "separate"},
    {"loss": "bpr-max", "negatives": 64, "regularisation": 0.01},
    {"loss": "top1-max", "negatives": 64, "sampling": "uniform"},
]


class TestGru4Rec(ScoreModelTests):
    model_class = Gru4Rec
    config = Gru4RecConfig.parse(SMALL)
    sequential = True


def model(seed: int = 0, **settings: object) -> Gru4Rec:
    torch.manual_seed(seed)
    return Gru4Rec(Gru4RecConfig.parse({**SMALL, **settings}), items=ITEMS)


def walks(rows: int = 150) -> Histories:
    """Step 1, 2, 1, 2, … around the circle of items: only who looks back further than one event can tell what comes next."""
    return Histories.from_rows([[(row + (3 * step + row % 2) // 2) % ITEMS for step in range(4 + row % 7)] for row in range(rows)])


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: "-".join(map(str, objective.values())))
def test_every_objective_learns_from_more_than_the_last_event(objective: dict[str, object]) -> None:
    gru = model(**objective)
    config = TrainingConfig(epochs=30, batch_size=50, learning_rate=0.01, device="cpu", precision="fp32")
    train(gru, walks(), config)
    histories = walks()
    guesses = gru.score(to_batch(histories.drop_last())).argmax(1).numpy()
    assert (guesses == histories.values[histories.offsets[1:] - 1]).mean() > 0.65  # who looks at the last event alone reaches half


def test_packed_order_changes_nothing() -> None:
    """The states are those of torch's GRU on each row alone."""
    gru = model(layers=2).eval()
    rows = [[1, 2, 3], [], [4], [7, 5, 6, 8, 1], [9, 9]]
    batch = to_batch(Histories.from_rows(rows))
    states = gru(batch.items, batch.offsets)
    alone = [gru.project(gru.gru.gru(pack_sequence([gru.items(torch.tensor(row))]))[0].data) for row in rows if row]
    torch.testing.assert_close(states, torch.cat(alone), rtol=1e-4, atol=1e-6)


def test_empty_histories_are_answered_with_what_people_begin_with() -> None:
    gru = model()
    histories = Histories.from_rows([[7, row % ITEMS] for row in range(100)])
    train(gru, histories, TrainingConfig(epochs=10, batch_size=25, learning_rate=0.02, device="cpu"))
    assert gru.score(to_batch(Histories.from_rows([[]]))).argmax().item() == 7


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: "-".join(map(str, objective.values())))
@pytest.mark.parametrize("rows", [[[3]], [[], []], [[], [4, 5]], [list(range(20))]], ids=str)
def test_any_batch_has_a_finite_loss_with_a_gradient(objective: dict[str, object], rows: list[list[int]]) -> None:
    gru = model(**objective)
    loss = gru.loss(to_batch(Histories.from_rows(rows)), 0)
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in gru.parameters())
