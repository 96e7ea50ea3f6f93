from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from recsmith.data import Histories
from recsmith.errors import ConfigError
from recsmith.models.mult_vae import MultVae, MultVaeConfig
from recsmith.testing import ScoreModelTests
from recsmith.training import to_batch

SMALL = MultVaeConfig(hidden=[24], dim=8, kl_weight=0.05, annealing_steps=100)


class TestMultVae(ScoreModelTests):
    model_class = MultVae
    config = SMALL


class TestDeepMultVae(ScoreModelTests):
    model_class = MultVae
    config = MultVaeConfig(hidden=[24, 16], dim=8, dropout=0, kl_weight=0.01, annealing_steps=0)


def _dense(histories: Histories, items: int) -> torch.Tensor:
    rows = torch.zeros(len(histories), items)
    rows[torch.from_numpy(histories.rows), torch.from_numpy(histories.values)] = 1
    return rows


def test_packed_arithmetic_equals_the_dense_formulas() -> None:
    torch.manual_seed(0)
    model = MultVae(SMALL, items=12).eval()
    histories = Histories.from_rows([[1, 5, 7], [2], [3, 3, 9, 1]])
    dense = _dense(histories, 12)
    hidden = torch.tanh(functional.normalize(dense) @ model.embedding.weight + model.bias)
    mean, log_variance = model.mean(hidden), model.log_variance(hidden)
    logits = model.decoder[1](torch.tanh(model.decoder[0](mean)))
    torch.testing.assert_close(model.score(to_batch(histories)), logits)
    likelihood = -(functional.log_softmax(logits, 1) * dense).sum(1).mean()
    torch.testing.assert_close(model.loss(to_batch(histories), 0), likelihood)
    divergence = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(1).mean()
    torch.testing.assert_close(model.loss(to_batch(histories), 50), likelihood + 0.025 * divergence)
    torch.testing.assert_close(model.loss(to_batch(histories), 10_000), likelihood + 0.05 * divergence)


def test_gradients_equal_those_of_the_dense_formulas() -> None:
    torch.manual_seed(0)
    model = MultVae(SMALL, items=12).eval()
    histories = Histories.from_rows([[1, 5, 7], [2], [3, 9, 1]])
    packed = torch.autograd.grad(model.loss(to_batch(histories), 0), [model.embedding.weight, model.decoder[1].weight])
    dense = _dense(histories, 12)
    mean = model.mean(torch.tanh(functional.normalize(dense) @ model.embedding.weight + model.bias))
    logits = model.decoder[1](torch.tanh(model.decoder[0](mean)))
    loss = -(functional.log_softmax(logits, 1) * dense).sum(1).mean()
    for found, expected in zip(packed, torch.autograd.grad(loss, [model.embedding.weight, model.decoder[1].weight]), strict=True):
        torch.testing.assert_close(found, expected)


def test_training_mode_is_noisy() -> None:
    torch.manual_seed(0)
    model, batch = MultVae(SMALL, items=12).train(), to_batch(Histories.from_rows([[1, 5, 7], [2, 3]]))
    assert model.loss(batch, 0) != model.loss(batch, 0)


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="`hidden`"):
        MultVaeConfig.parse({"hidden": []})
    with pytest.raises(ConfigError, match=r"`hidden\.0` = 0"):
        MultVaeConfig.parse({"hidden": [0]})
