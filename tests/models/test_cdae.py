from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from recsmith.data import Histories
from recsmith.errors import ConfigError
from recsmith.models.cdae import Cdae, CdaeConfig
from recsmith.testing import ScoreModelTests
from recsmith.training import to_batch

SMALL = CdaeConfig(dim=8, user_slots=4)
HISTORIES = Histories.from_rows([[1, 5, 7], [2], [], [3, 3, 9, 1]])


class TestCdae(ScoreModelTests):
    model_class = Cdae
    config = SMALL


class TestCdaeWithSquares(ScoreModelTests):
    model_class = Cdae
    config = CdaeConfig(dim=8, dropout=0.5, loss="square", activation="tanh", user_slots=0)
    steps = 250


def _model(config: CdaeConfig = SMALL) -> Cdae:
    torch.manual_seed(0)
    model = Cdae(config, items=12).eval()
    torch.nn.init.normal_(model.users.weight)
    return model


@torch.no_grad()
def test_packed_arithmetic_equals_the_dense_formulas() -> None:
    model = _model()
    dense = torch.zeros(4, 12)
    dense[torch.from_numpy(HISTORIES.rows), torch.from_numpy(HISTORIES.values)] = 1
    sums = dense @ model.first.embedding.weight + model.first.bias
    expected = model.out(torch.sigmoid(sums + model.users.weight[[3, 0, 1, 2]]))
    torch.testing.assert_close(model.score(to_batch(HISTORIES, users=np.array([3, 0, 1, 2]))), expected)
    torch.testing.assert_close(model.score(to_batch(HISTORIES)), model.out(torch.sigmoid(sums)))


@torch.no_grad()
def test_the_unseen_have_no_vector() -> None:
    model = _model()
    nobody = model.score(to_batch(HISTORIES))
    mixed = model.score(to_batch(HISTORIES, users=np.array([-1, 4, 999, 2])))
    torch.testing.assert_close(mixed[:3], nobody[:3])
    assert not torch.allclose(mixed[3], nobody[3])


@torch.no_grad()
def test_vectors_start_at_zero() -> None:
    model = Cdae(SMALL, items=12).eval()
    assert torch.equal(model.score(to_batch(HISTORIES, users=np.arange(4))), model.score(to_batch(HISTORIES)))


def test_only_people_of_the_batch_learn() -> None:
    model = _model().train()
    model.loss(to_batch(HISTORIES, users=np.array([1, 3, -1, -1])), 0).backward()
    moved = model.users.weight.grad.abs().sum(1) > 0
    assert moved.tolist() == [False, True, False, True]


def test_negatives_stand_outside_the_history() -> None:
    model = _model(CdaeConfig(dim=2, negatives=400))
    drawn, rows = model._draw(torch.tensor([1, 5, 7, 2]), torch.tensor([0, 0, 0, 2]))
    assert set(drawn[rows == 0].tolist()) == set(range(12)) - {1, 5, 7}
    assert set(drawn[rows == 2].tolist()) == set(range(12)) - {2}
    assert set(rows.tolist()) == {0, 2}


@pytest.mark.parametrize("loss", ["logistic", "square"])
def test_loss_is_the_mean_over_the_chosen(loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model(CdaeConfig.parse({"dim": 4, "loss": loss, "user_slots": 0}))
    batch = to_batch(Histories.from_rows([[1, 5], [2]]))
    monkeypatch.setattr(model, "_draw", lambda items, rows: (torch.tensor([0, 4]), torch.tensor([0, 1])))
    scores = model.score(batch)[[0, 0, 1, 0, 1], [1, 5, 2, 0, 4]]
    wanted = torch.tensor([1.0, 1, 1, 0, 0])
    expected = functional.binary_cross_entropy(scores.sigmoid(), wanted) if loss == "logistic" else functional.mse_loss(scores, wanted)
    torch.testing.assert_close(model.loss(batch, 0), expected)


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"`loss` = 'hinge'.*'logistic' or 'square'"):
        CdaeConfig.parse({"loss": "hinge"})
