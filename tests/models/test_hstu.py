from __future__ import annotations

import numpy as np
import pytest
import torch

from recsmith.data import Histories
from recsmith.errors import ConfigError, DataError
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


class TestHstuWithActions(ScoreModelTests):
    model_class = Hstu
    config = HstuConfig.parse({**SMALL, "actions": [2.0, 4.0]})
    sequential = True
    steps = 200


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


def tastes(rows: int = 400) -> Histories:
    """Random items; each person likes (weight 5) the items of one parity and dislikes (weight 1) the others."""
    random = np.random.default_rng(0)
    values = random.integers(0, ITEMS, (rows, 6))
    liked = values % 2 == np.arange(rows)[:, None] % 2
    return Histories(values.reshape(-1), np.arange(rows + 1) * 6, weights=np.where(liked, 5.0, 1.0).astype(np.float32).reshape(-1))


def test_the_ranking_head_knows_what_will_be_liked_and_retrieval_finds_it() -> None:
    hstu = model(layers=2, actions=[2.0, 4.0], least_liked=2)
    settings = TrainingConfig(epochs=25, batch_size=50, learning_rate=0.02, schedule="linear", device="cpu", precision="fp32")
    train(hstu, tastes(), settings)
    batch = to_batch(tastes().drop_last())
    right = torch.arange(ITEMS) % 2 == torch.arange(400)[:, None] % 2
    with torch.no_grad():
        chances = hstu.action_probabilities(batch, torch.arange(ITEMS).expand(400, -1))
        best = hstu.score(batch).topk(5).indices
    torch.testing.assert_close(chances.sum(2), torch.ones(400, ITEMS))
    assert ((chances[:, :, 2] > 0.5) == right).float().mean() > 0.95
    assert chances[:, :, 1].max() < 0.1  # nobody ever did that
    assert right.gather(1, best).float().mean() > 0.95


@torch.no_grad()
def test_actions_count_and_candidates_do_not_see_each_other() -> None:
    hstu = model(actions=[4.0]).eval()
    rows, weights = Histories.from_rows([[1, 2, 3], [], [4] * 12]), np.full(15, 5.0, dtype=np.float32)
    batch = to_batch(Histories(rows.values, rows.offsets, weights=weights))
    asked = torch.tensor([[5, 6, 1], [5, 6, 1], [5, 6, 1]])
    together = hstu.action_probabilities(batch, asked)
    alone = torch.cat([hstu.action_probabilities(batch, asked[:, place, None]) for place in range(3)], 1)
    torch.testing.assert_close(together, alone)
    other = to_batch(Histories(rows.values, rows.offsets, weights=np.where(np.arange(15) == 1, 1.0, 5.0).astype(np.float32)))
    assert not torch.allclose(hstu.score(other)[0], hstu.score(batch)[0], atol=1e-5)
    assert not torch.allclose(hstu.action_probabilities(other, asked)[0], together[0], atol=1e-5)
    torch.testing.assert_close(hstu.score(other)[1:], hstu.score(batch)[1:])


def test_actions_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"`actions` = \[4.0, 2.0\] must rise, as in \[2.0, 4.0\]"):
        HstuConfig.parse({"actions": [4.0, 2.0]})
    with pytest.raises(ConfigError, match="`least_liked` = 2 is not an action; 2 actions are numbered from 0"):
        HstuConfig.parse({"actions": [4.0], "least_liked": 2})
    batch = to_batch(Histories.from_rows([[1, 2]]))
    with pytest.raises(DataError, match="HSTU is to read actions, but the log has no ratings; give a column `rating`"):
        model(actions=[4.0]).loss(batch, 0)
    with pytest.raises(ConfigError, match=r"this HSTU reads no actions and cannot rank by them; set `model\.actions`"):
        model().action_probabilities(batch, torch.tensor([[3]]))
