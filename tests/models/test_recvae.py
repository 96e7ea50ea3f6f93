from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, Normal
from torch.nn import functional

from recsmith.data import Histories
from recsmith.errors import ConfigError
from recsmith.models.recvae import RecVae, RecVaeConfig, log_normal
from recsmith.nn.bags import distinct, unit_weights
from recsmith.testing import ScoreModelTests
from recsmith.training import to_batch

SMALL = RecVaeConfig(hidden=16, dim=6, prior_every=10)
HISTORIES = Histories.from_rows([[1, 5, 7], [2], [], [3, 3, 9, 1]])


class TestRecVae(ScoreModelTests):
    model_class = RecVae
    config = SMALL


def _model() -> RecVae:
    torch.manual_seed(0)
    model = RecVae(SMALL, items=12)
    for parameter in model.older.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def _sets() -> tuple[torch.Tensor, torch.Tensor]:
    batch = to_batch(HISTORIES)
    return distinct(batch.items, batch.offsets, size=12)


def test_prior_is_the_mixture_of_three_normals() -> None:
    model, latent = _model(), torch.randn(4, 6)
    mean, log_variance = model.older(*_sets(), dropout=0.0)
    means = torch.stack([torch.zeros(4, 6), mean, torch.zeros(4, 6)], -1)
    deviations = torch.stack([torch.ones(4, 6), (0.5 * log_variance).exp(), torch.full((4, 6), math.exp(5))], -1)
    shares = Categorical(torch.tensor([3 / 20, 3 / 4, 1 / 10]).expand(4, 6, 3))
    expected = MixtureSameFamily(shares, Normal(means, deviations)).log_prob(latent)
    torch.testing.assert_close(model.log_prior(latent, *_sets()), expected)


def test_prior_of_one_part_is_that_part() -> None:
    model = RecVae(RecVaeConfig(hidden=4, dim=3, prior_weights=(1, 0, 0)), items=12)
    latent = torch.randn(4, 3)
    torch.testing.assert_close(model.log_prior(latent, *_sets()), Normal(0.0, 1.0).log_prob(latent))


def test_log_normal_at_known_points() -> None:
    found = log_normal(torch.tensor([0.0, 3.0]), torch.tensor([0.0, 1.0]), torch.tensor([0.0, math.log(4.0)]))
    torch.testing.assert_close(found, torch.tensor([-0.918939, -2.112086]))


@torch.no_grad()
def test_loss_weighs_the_divergence_by_the_length_of_the_history() -> None:
    model = _model().eval()
    items, offsets = _sets()
    mean, log_variance = model.encoder(items, offsets, dropout=0.0)
    dense = torch.zeros(4, 12)
    dense[torch.arange(4).repeat_interleave(offsets.diff()), items] = 1
    likelihood = -(functional.log_softmax(model.score(to_batch(HISTORIES)), 1) * dense).sum(1)
    divergence = (log_normal(mean, mean, log_variance) - model.log_prior(mean, items, offsets)).sum(1)
    expected = (likelihood + 0.005 * torch.tensor([3.0, 1, 0, 3]) * divergence).mean()
    torch.testing.assert_close(model.loss(to_batch(HISTORIES), 0), expected)


@torch.no_grad()
def test_encoder_is_densely_connected() -> None:
    encoder = _model().encoder
    items, offsets = _sets()
    dense = torch.zeros(4, 12)
    dense[torch.arange(4).repeat_interleave(offsets.diff()), items] = unit_weights(offsets, tokens=len(items), dtype=torch.float32)
    states = [encoder.norms[0](functional.silu(dense @ encoder.first.embedding.weight + encoder.first.bias))]
    for layer, norm in zip(encoder.layers, encoder.norms[1:], strict=True):
        states.append(norm(functional.silu(layer(states[-1]) + sum(states))))
    assert len(states) == 5
    torch.testing.assert_close(encoder(items, offsets, dropout=0.0)[0], encoder.mean(states[-1]))


@pytest.mark.parametrize(("step", "learns"), [(0, "encoder"), (2, "encoder"), (3, "decoder"), (4, "encoder"), (7, "decoder")])
def test_encoder_and_decoder_take_turns(step: int, learns: str) -> None:
    model = _model().train()
    model.loss(to_batch(HISTORIES), step).backward()
    assert {name.partition(".")[0] for name, value in model.named_parameters() if value.grad is not None} == {learns}


def test_prior_follows_the_encoder_from_time_to_time() -> None:
    model = _model().train()
    latent, before = torch.zeros(4, 6), _model().log_prior(torch.zeros(4, 6), *_sets())
    model.loss(to_batch(HISTORIES), 9)
    assert torch.equal(model.log_prior(latent, *_sets()), before)
    model.loss(to_batch(HISTORIES), 20)
    assert all(torch.equal(value, model.older.state_dict()[name]) for name, value in model.encoder.state_dict().items())
    assert not torch.equal(model.log_prior(latent, *_sets()), before)


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"`prior_weights` = \[0.5, 0.5, 0.5\] are no shares; give three numbers"):
        RecVaeConfig.parse({"prior_weights": [0.5, 0.5, 0.5]})
