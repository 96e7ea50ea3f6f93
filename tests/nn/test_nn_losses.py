from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from recsmith.nn import losses
from recsmith.nn import negatives as draw

TARGETS = torch.tensor([3, 0, 7, 7, 2])


def drawn(*shape: int, scale: float = 1.0, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(*shape, generator=generator, dtype=torch.float64) * scale).to(dtype).requires_grad_()


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).norm() / b.norm().clamp(min=1e-12)).item()


@settings(max_examples=25, deadline=None)
@given(
    tokens=st.integers(1, 40), items=st.integers(1, 60), chunk=st.integers(1, 50),
    smoothing=st.sampled_from([0.0, 0.1]), with_bias=st.booleans(), scale=st.sampled_from([1.0, 20.0]),
)  # fmt: skip
def test_fused_cross_entropy_is_the_plain_one_forward_and_backward(
    tokens: int, items: int, chunk: int, smoothing: float, with_bias: bool, scale: float
) -> None:
    hidden = drawn(tokens, 6, scale=scale, dtype=torch.float64)
    weight, bias = drawn(items, 6, dtype=torch.float64, seed=1), drawn(items, dtype=torch.float64, seed=2)
    targets = torch.arange(tokens) % items
    inputs = [hidden, weight, bias] if with_bias else [hidden, weight]
    ours = losses.fused_cross_entropy(hidden, weight, targets, bias=bias if with_bias else None, label_smoothing=smoothing, chunk=chunk)
    logits = hidden @ weight.T + (bias if with_bias else 0.0)
    plain = F.cross_entropy(logits, targets, label_smoothing=smoothing)
    torch.testing.assert_close(ours, plain, rtol=1e-8, atol=1e-8)
    for mine, reference in zip(torch.autograd.grad(3 * ours, inputs), torch.autograd.grad(3 * plain, inputs), strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-8, atol=1e-8)


def test_gradient_agrees_with_finite_differences() -> None:
    hidden, weight, bias = drawn(5, 4, dtype=torch.float64), drawn(9, 4, dtype=torch.float64, seed=1), drawn(9, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda h, w, b: losses.fused_cross_entropy(h, w, TARGETS, bias=b, label_smoothing=0.1, chunk=2), (hidden, weight, bias)
    )


def test_bf16_products_stay_close_to_fp32() -> None:
    hidden, weight = drawn(64, 32), drawn(900, 32, scale=0.3, seed=1)
    targets = torch.arange(64) * 13
    exact = losses.fused_cross_entropy(hidden, weight, targets)
    rounded = losses.fused_cross_entropy(hidden, weight, targets, compute_dtype=torch.bfloat16, chunk=20)
    assert rounded.dtype == torch.float32
    assert rounded.item() == pytest.approx(exact.item(), rel=2e-3)
    for a, b in zip(torch.autograd.grad(rounded, [hidden, weight]), torch.autograd.grad(exact, [hidden, weight]), strict=True):
        assert relative(a, b) < 2e-2


def test_autocast_chooses_the_type_of_the_products() -> None:
    hidden, weight = drawn(5, 8), drawn(11, 8, seed=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = losses.fused_cross_entropy(hidden, weight, TARGETS)
    assert torch.equal(inside, losses.fused_cross_entropy(hidden, weight, TARGETS, compute_dtype=torch.bfloat16))
    assert not torch.equal(inside, losses.fused_cross_entropy(hidden, weight, TARGETS))


def test_loss_is_right_where_the_probability_underflows() -> None:
    hidden, weight = torch.tensor([[300.0]]), torch.tensor([[1.0], [0.0]])
    assert losses.fused_cross_entropy(hidden, weight, torch.tensor([1])).item() == pytest.approx(300.0)


def test_no_token_and_no_gradient_are_fine() -> None:
    weight = drawn(4, 3)
    empty = losses.fused_cross_entropy(torch.zeros(0, 3, requires_grad=True), weight, torch.zeros(0, dtype=torch.int64))
    empty.backward()
    assert empty.item() == 0.0
    assert weight.grad is not None
    assert not weight.grad.any()
    with torch.no_grad():
        assert losses.fused_cross_entropy(drawn(5, 3), drawn(9, 3), TARGETS).item() > 0


def test_sampled_softmax_over_every_item_is_the_full_softmax() -> None:
    hidden, weight = drawn(5, 8), drawn(9, 8, seed=1)
    ours = losses.sampled_softmax(hidden, weight, TARGETS, negatives=torch.arange(9))
    torch.testing.assert_close(ours, F.cross_entropy(hidden @ weight.T, TARGETS))


@pytest.mark.parametrize("kind", ["uniform", "log-uniform", "in-batch"])
def test_sampled_softmax_estimates_the_full_softmax(kind: str) -> None:
    torch.manual_seed(0)
    items, count, targets = 30, 20_000, torch.arange(30)  # every item is a target, so the batch's frequencies are uniform
    hidden, weight = drawn(30, 4), drawn(items, 4, seed=1)
    negatives, log_q = draw.shared_negatives(items=items, count=count, device=targets.device), None
    if kind == "log-uniform":
        negatives, log_q = draw.log_uniform_negatives(items=items, count=count, device=targets.device)
    elif kind == "in-batch":
        negatives, log_q = draw.in_batch_negatives(targets, count=count)
    ours = losses.sampled_softmax(hidden, weight, targets, negatives=negatives, log_q=log_q)
    assert ours.item() == pytest.approx(F.cross_entropy(hidden @ weight.T, targets).item(), rel=2e-2)


def test_sampled_softmax_takes_negatives_per_token() -> None:
    hidden, weight = drawn(5, 8), drawn(9, 8, seed=1)
    shared = torch.tensor([1, 4, 8])
    ours = losses.sampled_softmax(hidden, weight, TARGETS, negatives=shared.expand(5, 3))
    torch.testing.assert_close(ours, losses.sampled_softmax(hidden, weight, TARGETS, negatives=shared))


def test_log_uniform_probabilities_are_those_of_the_draw() -> None:
    torch.manual_seed(0)
    ranks, log_q = draw.log_uniform_negatives(items=10, count=50_000, device=torch.device("cpu"))
    shares = torch.bincount(ranks, minlength=10) / len(ranks)
    known = torch.zeros(10)
    known[ranks] = log_q.exp()
    assert known.sum().item() == pytest.approx(1.0, abs=1e-4)
    torch.testing.assert_close(shares, known, atol=0.01, rtol=0.0)


def test_uniform_negatives_never_hit_the_target_and_reach_all_others() -> None:
    torch.manual_seed(0)
    negatives = draw.uniform_negatives(TARGETS, items=8, count=400)
    assert not (negatives == TARGETS[:, None]).any()
    assert all(len(row.unique()) == 7 for row in negatives)
    assert draw.uniform_negatives(torch.tensor([0]), items=1, count=2).tolist() == [[0, 0]]


def test_bce_by_hand_and_gbce_limits() -> None:
    hidden, weight = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    target, negative = torch.tensor([0]), torch.tensor([[1]])
    by_hand = math.log1p(math.exp(-1.0)) + math.log1p(math.exp(2.0))
    assert losses.bce(hidden, weight, target, negatives=negative).item() == pytest.approx(by_hand, rel=1e-6)
    assert losses.gbce(hidden, weight, target, negatives=negative, t=0.0).item() == pytest.approx(by_hand / 2, rel=1e-6)
    shift = math.log(0.5)  # one negative of two other items: rate 1/2, and the target weighs half as much as the negative
    calibrated = 0.5 * math.log1p(math.exp(-1.0 - shift)) + math.log1p(math.exp(2.0 + shift))
    assert losses.gbce(hidden, weight, target, negatives=negative, t=1.0).item() == pytest.approx(calibrated / 2, rel=1e-6)


def test_bpr_max_and_top1_max_by_hand() -> None:
    hidden, weight = torch.tensor([[1.0]]), torch.tensor([[2.0], [0.0], [math.log(3.0)]])
    target, negatives = torch.tensor([0]), torch.tensor([1, 2, 0])  # the last one is the target and does not count
    shares = (0.25, 0.75)

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    scores = (0.0, math.log(3.0))
    wins = sum(share * sigmoid(2.0 - score) for share, score in zip(shares, scores, strict=True))
    penalty = sum(share * score**2 for share, score in zip(shares, scores, strict=True))
    bpr = losses.bpr_max(hidden, weight, target, negatives=negatives, regularisation=0.5)
    assert bpr.item() == pytest.approx(-math.log(wins) + 0.5 * penalty, rel=1e-5)
    top1 = sum(share * (sigmoid(score - 2.0) + sigmoid(score**2)) for share, score in zip(shares, scores, strict=True))
    assert losses.top1_max(hidden, weight, target, negatives=negatives).item() == pytest.approx(top1, rel=1e-5)


@pytest.mark.parametrize("loss", [losses.top1_max, lambda *a, **k: losses.bpr_max(*a, regularisation=0.1, **k)])
def test_ranking_losses_survive_negatives_that_are_all_the_target(loss: Callable[..., torch.Tensor]) -> None:
    hidden, weight = drawn(2, 3), drawn(4, 3, seed=1)
    value = loss(hidden, weight, torch.tensor([1, 1]), negatives=torch.tensor([1, 1]))
    value.backward()
    assert value.isfinite()
    assert hidden.grad is not None
    assert hidden.grad.isfinite().all()
