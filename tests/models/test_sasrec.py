from __future__ import annotations

import pytest
import torch

from recsmith.data import Histories
from recsmith.errors import ConfigError
from recsmith.models.sasrec import Sasrec, SasrecConfig
from recsmith.testing.models import ScoreModelTests
from recsmith.training import TrainingConfig, to_batch, train

ITEMS = 20
SMALL = {"dim": 16, "layers": 1, "heads": 2, "hidden": 32, "dropout": 0.0, "max_history": 8, "init_std": 0.1}
OBJECTIVES = [
    {"loss": "softmax"},
    {"loss": "softmax", "label_smoothing": 0.1},
    {"loss": "bce"},
    {"loss": "gbce", "negatives": 8},
    {"loss": "sampled-softmax", "negatives": 15},
    {"loss": "sampled-softmax", "negatives": 15, "sampling": "in-batch"},
]


class TestSasrec(ScoreModelTests):
    model_class = Sasrec
    config = SasrecConfig.parse(SMALL)
    sequential = True


class TestSasrecPreNormFromTheEnd(ScoreModelTests):
    model_class = Sasrec
    config = SasrecConfig.parse({**SMALL, "norm": "pre", "positions": "end"})
    sequential = True


def model(seed: int = 0, **settings: object) -> Sasrec:
    torch.manual_seed(seed)
    return Sasrec(SasrecConfig.parse({**SMALL, **settings}), items=ITEMS)


def walks(rows: int = 150) -> Histories:
    """Step 1, 2, 1, 2, … around the circle of items: only who looks back further than one event can tell what comes next."""
    return Histories.from_rows([[(row + (3 * step + row % 2) // 2) % ITEMS for step in range(4 + row % 7)] for row in range(rows)])


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: "-".join(map(str, objective.values())))
def test_every_objective_learns_from_more_than_the_last_event(objective: dict[str, object]) -> None:
    sasrec = model(**objective)
    epochs = 60 if "bce" in str(objective["loss"]) else 30
    config = TrainingConfig(epochs=epochs, batch_size=50, learning_rate=0.01, device="cpu", precision="fp32")
    train(sasrec, walks(), config)
    histories = walks()
    guesses = sasrec.score(to_batch(histories.drop_last())).argmax(1).numpy()
    assert (guesses == histories.values[histories.offsets[1:] - 1]).mean() > 0.65  # who looks at the last event alone reaches half


def test_empty_histories_are_answered_with_what_people_begin_with() -> None:
    sasrec = model()
    histories = Histories.from_rows([[7, row % ITEMS] for row in range(100)])
    train(sasrec, histories, TrainingConfig(epochs=10, batch_size=25, learning_rate=0.02, device="cpu"))
    scores = sasrec.score(to_batch(Histories.from_rows([[], [7]])))
    assert scores.isfinite().all()
    assert scores[0].argmax().item() == 7
    assert sasrec.score(to_batch(Histories.from_rows([[]]))).argmax().item() == 7


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: "-".join(map(str, objective.values())))
@pytest.mark.parametrize("rows", [[[3]], [[], []], [[], [4, 5]], [list(range(20))]], ids=str)
def test_any_batch_has_a_finite_loss_with_a_gradient(objective: dict[str, object], rows: list[list[int]]) -> None:
    sasrec = model(**objective)
    loss = sasrec.loss(to_batch(Histories.from_rows(rows)), 0)
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in sasrec.parameters())


def test_heads_that_do_not_divide_are_a_mistake_of_the_user() -> None:
    with pytest.raises(ConfigError, match="`dim` = 10 must be a multiple of `heads` = 3"):
        SasrecConfig.parse({"dim": 10, "heads": 3})
