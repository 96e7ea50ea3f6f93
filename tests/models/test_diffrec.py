from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from recsmith.data import Histories
from recsmith.errors import ConfigError
from recsmith.models.diffrec import DiffRec, DiffRecConfig
from recsmith.nn.diffusion import step_embedding
from recsmith.testing import ScoreModelTests
from recsmith.training import to_batch

SMALL = DiffRecConfig(hidden=[24], steps=3)
HISTORIES = Histories.from_rows([[1, 5, 7], [2], [], [3, 3, 9, 1]])


class TestDiffRec(ScoreModelTests):
    model_class = DiffRec
    config = SMALL


class TestDeepDiffRec(ScoreModelTests):
    model_class = DiffRec
    config = DiffRecConfig(
        hidden=[24, 12],
        steps=4,
        dropout=0.2,
        normalise=True,
        reweight=False,
        importance=False,
        noise_scale=1,
        noise_low=0.01,
        noise_high=0.3,
    )


@torch.no_grad()
def test_answer_walks_back_through_the_posterior_means() -> None:
    torch.manual_seed(0)
    model = DiffRec(SMALL, items=12).eval()
    row = torch.zeros(4, 12)
    row[torch.from_numpy(HISTORIES.rows), torch.from_numpy(HISTORIES.values)] = 1
    noise = torch.tensor([5e-6, 2.75e-5, 5e-5], dtype=torch.float64)
    for step in (2, 1, 0):
        embedded = model.denoiser.step(step_embedding(torch.full((4,), step), 10))
        clean = model.denoiser.layers[1](torch.tanh(model.denoiser.layers[0](torch.cat([row, embedded], 1))))
        before = noise[step - 1] if step else torch.zeros((), dtype=torch.float64)
        beta = 1 - (1 - noise[step]) / (1 - before)
        row = ((1 - before).sqrt() * beta / noise[step]).float() * clean + ((1 - beta).sqrt() * before / noise[step]).float() * row
    torch.testing.assert_close(model.score(to_batch(HISTORIES)), row, rtol=1e-4, atol=1e-5)


def test_step_weights_are_the_drops_of_signal_to_noise() -> None:
    config = DiffRecConfig(hidden=[4], steps=3, noise_scale=1, noise_low=0.1, noise_high=0.3)
    ratio = [0.9 / 0.1, 0.8 / 0.2, 0.7 / 0.3]
    weights = torch.tensor([1, ratio[0] - ratio[1], ratio[1] - ratio[2]])
    torch.testing.assert_close(DiffRec(config, items=5).denoiser.step_weights, weights / weights.mean())
    plain = DiffRec(config.override(reweight=False), items=5)
    assert plain.denoiser.step_weights.tolist() == [1, 1, 1]


def test_loss_is_the_squared_error_of_the_clean_row() -> None:
    torch.manual_seed(0)
    config = DiffRecConfig(hidden=[4], steps=1, noise_scale=1e-9, dropout=0.0)
    model = DiffRec(config, items=12).eval()
    dense = torch.zeros(4, 12)
    dense[torch.from_numpy(HISTORIES.rows), torch.from_numpy(HISTORIES.values)] = 1
    expected = functional.mse_loss(model.score(to_batch(HISTORIES)), dense, reduction="none").sum(1).mean()
    torch.testing.assert_close(model.loss(to_batch(HISTORIES), 0), expected)


def test_losses_are_remembered_in_training_only() -> None:
    model = DiffRec(SMALL, items=12).eval()
    model.loss(to_batch(HISTORIES), 0)
    assert not model.denoiser.sampler.met.any()
    model.train().loss(to_batch(HISTORIES), 0)
    assert model.denoiser.sampler.met.any()


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"`noise_high` = 0.1 is below `noise_low` = 0.2"):
        DiffRecConfig.parse({"noise_low": 0.2, "noise_high": 0.1})
    with pytest.raises(ConfigError, match="`step_dim` = 7"):
        DiffRecConfig.parse({"step_dim": 7})


def test_recent_events_count_more_in_t_diffrec() -> None:
    model = DiffRec(SMALL.override(oldest_weight=0.5), items=12)
    rows = model._rows(to_batch(Histories.from_rows([[1, 5, 7], [2], [], [3, 9, 3, 1, 4]])))
    assert rows[0, [1, 5, 7]].tolist() == [0.5, 0.75, 1]
    assert rows[1].sum() == rows[1, 2] == 1
    assert rows[2].sum() == 0
    assert rows[3, [3, 9, 1, 4]].tolist() == [0.75, 0.625, 0.875, 1]  # an item counts as its newest event does
