"""Blocks of the T5 stack that can be checked alone: norm, dropout, relative positions."""

from __future__ import annotations

import pytest
import torch

from recsmith.nn.dropout import Dropout, dropout, relu_dropout
from recsmith.nn.norm import RMSNorm, _RmsNorm
from recsmith.nn.t5 import relative_buckets


def test_norm_and_its_gradient():
    x = torch.randn(3, 4, 7, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, weight: _RmsNorm.apply(x, weight, 1e-6), (x, weight))
    expected = torch.nn.functional.rms_norm(x, (7,), weight, 1e-6)
    assert torch.allclose(_RmsNorm.apply(x, weight, 1e-6), expected)


@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 1e3])
def test_norm_is_the_same_with_and_without_a_gradient(scale):
    norm, x = RMSNorm(24), scale * torch.randn(5, 3, 24)
    norm.weight.data.normal_()
    with torch.no_grad():
        torch.testing.assert_close(norm(x), _RmsNorm.apply(x, norm.weight, 1e-6))


def test_norm_computes_in_float32():
    assert RMSNorm(4)(torch.ones(2, 4, dtype=torch.bfloat16)).dtype == torch.float32


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_zeroes_the_share_and_keeps_the_mean(p):
    torch.manual_seed(0)
    x = torch.ones(501, 401, requires_grad=True)
    y = dropout(x, p, training=True)
    assert (y == 0).float().mean().item() == pytest.approx(p, abs=0.006)
    assert y.mean().item() == pytest.approx(1.0, abs=0.02)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_relu_and_dropout_together_are_one_after_the_other():
    x = torch.randn(64, 100, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(64, 100, dtype=torch.float64)
    results = []
    for function in (lambda: relu_dropout(x, 0.3, training=True), lambda: dropout(x, 0.3, training=True).relu()):
        torch.manual_seed(4)
        y = function()
        results.append((y, *torch.autograd.grad((y * weight).sum(), x)))
    assert torch.allclose(results[0][0], results[1][0])
    assert torch.allclose(results[0][1], results[1][1])
    assert torch.equal(relu_dropout(x, 0.3, training=False), x.relu())


def test_dropout_is_off_outside_training_and_at_zero():
    x = torch.randn(5)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
    assert (dropout(x, 1.0, training=True) == 0).all()


def test_dropout_draws_fresh_bits_for_every_unit():
    torch.manual_seed(1)
    rates = (dropout(torch.ones(20_000, 8), 0.25, training=True) == 0).float().mean(dim=0)
    assert torch.allclose(rates, torch.full((8,), 0.25), atol=0.02)


def test_relative_buckets_are_exact_near_and_coarse_far():
    distance = torch.arange(-300, 301)
    causal = relative_buckets(distance, buckets=32, furthest=128, bidirectional=False)
    assert causal[300:].tolist() == [0] * 301
    assert causal[300 - 15 : 301].tolist() == list(range(15, -1, -1))
    assert causal[:170].unique().tolist() == [31]
    both = relative_buckets(distance, buckets=32, furthest=128, bidirectional=True)
    assert (both[301:] - both[:300].flip(0)).unique().tolist() == [16]
