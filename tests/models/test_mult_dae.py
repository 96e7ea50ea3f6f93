from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from recsmith.data import Histories
from recsmith.errors import ConfigError
from recsmith.models.mult_dae import MultDae, MultDaeConfig
from recsmith.testing import ScoreModelTests
from recsmith.training import to_batch

SMALL = MultDaeConfig(hidden=[8])
HISTORIES = Histories.from_rows([[1, 5, 7], [2], [], [3, 3, 9, 1]])


class TestMultDae(ScoreModelTests):
    model_class = MultDae
    config = SMALL


class TestDeepMultDae(ScoreModelTests):
    model_class = MultDae
    config = MultDaeConfig(hidden=[24, 8], dropout=0.2)


def test_packed_arithmetic_equals_the_dense_formulas() -> None:
    torch.manual_seed(0)
    model = MultDae(MultDaeConfig(hidden=[6, 3]), items=12).eval()
    dense = torch.zeros(4, 12)
    dense[torch.from_numpy(HISTORIES.rows), torch.from_numpy(HISTORIES.values)] = 1
    hidden = torch.tanh(functional.normalize(dense) @ model.first.embedding.weight + model.first.bias)
    code = torch.tanh(model.layers[0](hidden))
    logits = model.layers[2](torch.tanh(model.layers[1](code)))
    torch.testing.assert_close(model.score(to_batch(HISTORIES)), logits)
    likelihood = -(functional.log_softmax(logits, 1) * dense).sum(1).mean()
    torch.testing.assert_close(model.loss(to_batch(HISTORIES), 0), likelihood)


def test_items_are_hidden_in_training_only() -> None:
    torch.manual_seed(0)
    model, batch = MultDae(SMALL, items=12), to_batch(HISTORIES)
    assert model.train().loss(batch, 0) != model.loss(batch, 0)
    assert model.eval().loss(batch, 0) == model.loss(batch, 0)


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="`hidden`"):
        MultDaeConfig.parse({"hidden": []})
