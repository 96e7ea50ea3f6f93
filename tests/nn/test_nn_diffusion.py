from __future__ import annotations

import math

import pytest
import torch

from recsmith.nn.diffusion import GaussianDiffusion, StepSampler, linear_variance, step_embedding

DIFFUSION = GaussianDiffusion(linear_variance(4, lowest=0.05, highest=0.6))


@pytest.mark.parametrize("step", range(4))
def test_forward_moments_match_theory(step: int) -> None:
    torch.manual_seed(step)
    start = torch.tensor([1.0, 0.0, -2.0]).expand(200_000, 3)
    drawn = DIFFUSION.corrupt(start, torch.full((len(start),), step), torch.randn(start.shape))
    noise = 0.05 + step * 0.55 / 3
    torch.testing.assert_close(drawn.mean(0), math.sqrt(1 - noise) * start[0], rtol=0, atol=0.01)
    torch.testing.assert_close(drawn.var(0), torch.full((3,), noise), rtol=0.02, atol=0)


def test_single_steps_chained_give_the_same_moments() -> None:
    """x_t = √kept x_{t-1} + √(1 - kept) ε, step after step."""
    noise = linear_variance(4, lowest=0.05, highest=0.6)
    before = torch.cat([torch.zeros(1, dtype=torch.float64), noise[:-1]])
    kept = (1 - noise) / (1 - before)
    mean, variance = torch.ones(()), torch.zeros(())
    for step in range(4):
        mean, variance = kept[step].sqrt() * mean, kept[step] * variance + 1 - kept[step]
        torch.testing.assert_close(DIFFUSION.signal_scale[step], mean.float())
        torch.testing.assert_close(DIFFUSION.noise_scale[step] ** 2, variance.float())


@pytest.mark.parametrize("step", [1, 2, 3])
def test_posterior_matches_bayes(step: int) -> None:
    """q(x_{t-1} | x_t, x_0) from the joint Gaussian of x_{t-1} and x_t, by conditioning."""
    noise = linear_variance(4, lowest=0.05, highest=0.6)
    before, now = noise[step - 1], noise[step]
    kept = (1 - now) / (1 - before)
    start, current = torch.tensor(0.7, dtype=torch.float64), torch.tensor(-0.4, dtype=torch.float64)
    gain = kept.sqrt() * before / now
    mean = (1 - before).sqrt() * start + gain * (current - (1 - now).sqrt() * start)
    variance = before - gain * kept.sqrt() * before
    found = DIFFUSION.posterior_mean(start.float().view(1, 1), current.float().view(1, 1), torch.tensor([step]))
    torch.testing.assert_close(found.view(()), mean.float())
    torch.testing.assert_close(DIFFUSION.posterior_variance[step], variance.float())


def test_posterior_matches_draws() -> None:
    """Draw x_1 and x_2 from the forward process, keep those with x_2 near a point, and look at x_1."""
    torch.manual_seed(0)
    rows = 2_000_000
    noise = linear_variance(4, lowest=0.05, highest=0.6)
    kept = ((1 - noise[2]) / (1 - noise[1])).float()
    start = torch.full((rows, 1), 0.5)
    one = DIFFUSION.corrupt(start, torch.full((rows,), 1), torch.randn(rows, 1))
    two = kept.sqrt() * one + (1 - kept).sqrt() * torch.randn(rows, 1)
    near = one[(two - 0.9).abs() < 0.02]
    mean = DIFFUSION.posterior_mean(torch.tensor([[0.5]]), torch.tensor([[0.9]]), torch.tensor([2]))
    assert near.mean().item() == pytest.approx(mean.item(), abs=0.01)
    assert near.var().item() == pytest.approx(DIFFUSION.posterior_variance[2].item(), rel=0.03)


def test_first_step_returns_the_start() -> None:
    start, current = torch.randn(5, 3), torch.randn(5, 3)
    assert torch.equal(DIFFUSION.posterior_mean(start, current, torch.zeros(5, dtype=torch.int64)), start)
    assert DIFFUSION.posterior_variance[0] == 0


def test_tiny_noise_keeps_its_digits() -> None:
    diffusion = GaussianDiffusion(linear_variance(5, lowest=5e-9, highest=5e-8))
    torch.testing.assert_close(diffusion.noise_scale**2, torch.linspace(5e-9, 5e-8, 5), rtol=1e-5, atol=0)
    torch.testing.assert_close(diffusion.start_share + diffusion.current_share, torch.ones(5))
    assert (diffusion.signal_to_noise.diff() < 0).all()


def test_nothing_of_the_schedule_is_saved() -> None:
    assert not DIFFUSION.state_dict()
    assert DIFFUSION.steps == 4


def test_step_embedding() -> None:
    embedded = step_embedding(torch.tensor([0, 3]), 4)
    torch.testing.assert_close(embedded[0], torch.tensor([1.0, 1, 0, 0]))
    torch.testing.assert_close(embedded[1], torch.tensor([math.cos(3), math.cos(0.03), math.sin(3), math.sin(0.03)]))


def test_steps_are_drawn_by_their_losses_without_bias() -> None:
    torch.manual_seed(0)
    sampler, losses = StepSampler(3), torch.tensor([1.0, 2.0, 9.0])
    assert sampler.probabilities().tolist() == pytest.approx([1 / 3] * 3)
    sampler.record(torch.tensor([2, 1]), losses[[2, 1]])
    assert sampler.probabilities().tolist() == pytest.approx([1 / 3] * 3)
    sampler.record(torch.tensor([0, 0]), losses[[0, 0]])
    assert sampler.probabilities().tolist() == pytest.approx([1 / 12, 2 / 12, 9 / 12], abs=1e-3)
    steps, factors = sampler.draw(20_000)
    assert (steps.bincount() / 20_000).tolist() == pytest.approx(sampler.probabilities().tolist(), abs=0.02)
    assert (losses[steps] * factors).mean().item() == pytest.approx(4.0, abs=0.02)


def test_losses_are_forgotten_slowly() -> None:
    sampler = StepSampler(2, memory=0.75)
    sampler.record(torch.tensor([0, 0]), torch.tensor([1.0, 3.0]))
    sampler.record(torch.tensor([0]), torch.tensor([1.0]))
    assert sampler.squares.tolist() == pytest.approx([0.75 * 5 + 0.25, 0])
    assert sampler.met.tolist() == [True, False]


def test_losses_of_zero_leave_the_draw_even() -> None:
    sampler = StepSampler(2)
    sampler.record(torch.tensor([0, 1]), torch.zeros(2))
    assert sampler.probabilities().tolist() == [0.5, 0.5]
    steps, factors = sampler.draw(0)
    assert (len(steps), len(factors)) == (0, 0)
