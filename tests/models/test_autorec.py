from __future__ import annotations

import numpy as np
import pytest
import torch

from recsmith.data import Histories
from recsmith.errors import DataError
from recsmith.models.autorec import AutoRec, AutoRecConfig
from recsmith.testing import ScoreModelTests
from recsmith.training import TrainingConfig, to_batch, train


class TestAutoRec(ScoreModelTests):
    model_class = AutoRec
    config = AutoRecConfig(hidden=24, dropout=0.0)
    personalised = False  # the small logs have one rating for everything; what is learned from ratings is tested below


def camps(users: int = 60, seed: int = 0) -> Histories:
    """Even people give 5 to items 0–5 and 1 to items 6–11, odd people the reverse; each has rated eight of the twelve."""
    random = np.random.default_rng(seed)
    rows = [random.permutation(12)[:8] for _ in range(users)]
    likes = [np.where((row < 6) == (user % 2 == 0), 5.0, 1.0) for user, row in enumerate(rows)]
    bare = Histories.from_rows([row.tolist() for row in rows])
    return Histories(bare.values, bare.offsets, None, np.concatenate(likes).astype(np.float32))


def test_unseen_ratings_are_predicted_for_people_unseen_in_training() -> None:
    torch.manual_seed(0)
    model = AutoRec(AutoRecConfig(hidden=16, dropout=0.2), items=12)
    train(model, camps(), TrainingConfig(epochs=60, batch_size=20, learning_rate=0.02, device="cpu"))
    strangers = camps(seed=1)
    scores = model.eval().score(to_batch(strangers)).detach().numpy()
    for user in range(60):
        wanted = np.where((np.arange(12) < 6) == (user % 2 == 0), 5.0, 1.0)
        assert np.sqrt(np.square(scores[user] - wanted).mean()) < 0.6


def test_events_without_a_rating_teach_nothing() -> None:
    torch.manual_seed(0)
    model = AutoRec(AutoRecConfig(hidden=4, dropout=0.0, weight_penalty=0), items=12).eval()
    some = Histories(np.array([1, 2, 3]), np.array([0, 3]), None, np.array([4, np.nan, 2], dtype=np.float32))
    fewer = Histories(np.array([1, 3]), np.array([0, 2]), None, np.array([4, 2], dtype=np.float32))
    torch.testing.assert_close(model.loss(to_batch(some), 0), model.loss(to_batch(fewer), 0))


def test_a_log_without_ratings_is_refused() -> None:
    with pytest.raises(DataError, match=r"AutoRec predicts ratings, but the log has none; give a column `rating`, or take another recipe"):
        AutoRec(AutoRecConfig(), items=12).loss(to_batch(Histories.from_rows([[1, 2]])), 0)
