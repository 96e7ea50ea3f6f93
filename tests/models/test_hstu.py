from __future__ import annotations

import numpy as np
import pytest
import torch

from recsmith.data import Histories
from recsmith.errors import ConfigError
from recsmith.models.hstu import Hstu, HstuConfig
from recsmith.testing.models import ScoreModelTests
from recsmith.training import TrainingConfig, to_batch, train

ITEMS = 20
SMALL = {"dim": 16, "layers": 1, "heads": 2, "dropout": 0.0, "max_history": 8, "init_std": 0.1}
OBJECTIVES = [
    {"similarity": "dot", "loss": "softmax"},
    {"similarity": "cosine", "loss": "softmax"},
    {"similarity": "cosine", "loss": "sampled-softmax", "negatives": 15},
]


class TestHstu(ScoreModelTests):
    model_class = Hstu
    config = HstuConfig.parse(SMALL)
    sequential = True


class TestHstuCosine(ScoreModelTests):
    model_class = Hstu
    config = HstuConfig.parse({**SMALL, "similarity": "cosine", "loss": "sampled-softmax", "negatives": 12, "hide_times": 1.0})
    sequential = True


def model(seed: int = 0, **settings: object) -> Hstu:
    torch.manual_seed(seed)
    return Hstu(HstuConfig.parse({**SMALL, **settings}), items=ITEMS)


def walks(rows: int = 150) -> Histories:
    """Step 1, 2, 1, 2, … around the circle of items: only who looks back further than one event can tell what comes next."""
    return Histories.from_rows([[(row + (3 * step + row % 2) // 2) % ITEMS for step in range(4 + row % 7)] for row in range(rows)])


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: "-".join(map(str, objective.values())))
def test_every_objective_learns_from_more_than_the_last_event(objective: dict[str, object]) -> None:
    hstu = model(**objective)
    train(hstu, walks(), TrainingConfig(epochs=30, batch_size=50, learning_rate=0.01, device="cpu", precision="fp32"))
    histories = walks()
    guesses = hstu.score(to_batch(histories.drop_last())).argmax(1).numpy()
    assert (guesses == histories.values[histories.offsets[1:] - 1]).mean() > 0.65  # who looks at the last event alone reaches half


def pauses(rows: int = 200) -> Histories:
    """Two random items, then 0 after a pause of a minute between them and 1 after one of a month: only the times tell."""
    random = np.random.default_rng(0)
    values = np.concatenate([random.integers(2, ITEMS, (rows, 2)), (np.arange(rows) % 2)[:, None]], axis=1)
    gaps = np.where(np.arange(rows) % 2, 30 * 86_400.0, 60.0)
    times = np.stack([np.zeros(rows), gaps, gaps], axis=1) + random.uniform(1e9, 1.5e9, (rows, 1))
    return Histories(values.reshape(-1), np.arange(rows + 1) * 3, times.reshape(-1))


def test_the_time_between_events_counts() -> None:
    hstu = model(hide_times=0.2)
    train(hstu, pauses(), TrainingConfig(epochs=30, batch_size=50, learning_rate=0.02, device="cpu", precision="fp32"))
    asked = pauses().drop_last()
    scores = hstu.score(to_batch(asked))
    assert (scores[:, :2].argmax(1) == torch.arange(len(asked)) % 2).float().mean() > 0.95
    # without times both are likely, and both before everything else
    blind = hstu.score(to_batch(Histories(asked.values, asked.offsets))).topk(2).indices
    assert (blind.sort(dim=1).values == torch.tensor([0, 1])).all(1).float().mean() > 0.9


def test_times_that_are_not_finite_are_unknown_times() -> None:
    hstu = model().eval()
    rows = Histories.from_rows([[1, 2, 3], [4]])
    unknown = Histories(rows.values, rows.offsets, np.full(4, np.inf))
    assert torch.equal(hstu.score(to_batch(rows)), hstu.score(to_batch(unknown)))


def test_only_differences_of_time_count() -> None:
    hstu = model().eval()
    rows, times = Histories.from_rows([[1, 2, 3], [4]]), np.array([0.0, 100.0, 1e7, 5.0])
    early, late = (Histories(rows.values, rows.offsets, times + shift) for shift in (0.0, 1.6e9))
    torch.testing.assert_close(hstu.score(to_batch(early)), hstu.score(to_batch(late)))


def test_empty_histories_are_answered_with_what_people_begin_with() -> None:
    hstu = model()
    histories = Histories.from_rows([[7, row % ITEMS] for row in range(100)])
    train(hstu, histories, TrainingConfig(epochs=10, batch_size=25, learning_rate=0.02, device="cpu"))
    assert hstu.score(to_batch(Histories.from_rows([[]]))).argmax().item() == 7


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: "-".join(map(str, objective.values())))
@pytest.mark.parametrize("rows", [[[3]], [[], []], [[], [4, 5]], [list(range(20))]], ids=str)
def test_any_batch_has_a_finite_loss_with_a_gradient(objective: dict[str, object], rows: list[list[int]]) -> None:
    hstu = model(**objective)
    loss = hstu.loss(to_batch(Histories.from_rows(rows)), 0)
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in hstu.parameters())


def test_heads_that_do_not_divide_are_a_mistake_of_the_user() -> None:
    with pytest.raises(ConfigError, match="`dim` = 10 must be a multiple of `heads` = 3"):
        HstuConfig.parse({"dim": 10, "heads": 3})
