from __future__ import annotations

import numpy as np
import pytest
import torch

from recsmith.data import Histories
from recsmith.errors import ConfigError
from recsmith.models.sse_pt import SsePt, SsePtConfig
from recsmith.testing import ScoreModelTests
from recsmith.training import TrainingConfig, to_batch, train

SMALL = {"dim": 16, "user_dim": 8, "layers": 1, "hidden": 32, "dropout": 0.0, "max_history": 8, "init_std": 0.1, "user_slots": 64}


class TestSsePt(ScoreModelTests):
    model_class = SsePt
    config = SsePtConfig.parse(SMALL)
    sequential = True


def test_who_asks_matters_and_strangers_are_answered() -> None:
    """After item 0 even people go on with 1 and odd people with 2: only who knows the person can tell."""
    torch.manual_seed(0)
    histories = Histories.from_rows([[0, 1 + user % 2] for user in range(40)])
    model = SsePt(SsePtConfig.parse({**SMALL, "exchange_users": 0.1}), items=12)
    train(model, histories, TrainingConfig(epochs=60, batch_size=20, learning_rate=0.02, device="cpu"), users=np.arange(40))
    asked = Histories.from_rows([[0]] * 41)
    scores = model.eval().score(to_batch(asked, users=np.array([*range(40), -1])))
    guesses = scores[:40, 1:3].argmax(1).numpy()
    assert (guesses == np.arange(40) % 2).mean() > 0.9
    assert set(scores[40].topk(2).indices.tolist()) == {1, 2}


def test_people_are_exchanged_in_training_only() -> None:
    model = SsePt(SsePtConfig.parse({**SMALL, "exchange_users": 1, "hide_users": 0.5}), items=12)
    users = torch.arange(500)
    mixed = model.train()._exchanged_users(users)
    assert mixed is not None
    assert 0.4 < (mixed == -1).float().mean() < 0.6
    assert (mixed == users).float().mean() < 0.02
    assert torch.equal(users, torch.as_tensor(model.eval()._exchanged_users(users)))


def test_widths_must_divide_into_the_heads() -> None:
    with pytest.raises(ConfigError, match=r"`dim` \+ `user_dim` = 23 must be a multiple of `heads` = 2"):
        SsePtConfig.parse({**SMALL, "user_dim": 7})
