from __future__ import annotations

import torch
from torch.distributions import Normal, kl_divergence

from recsmith.nn.latent import annealed, gaussian_divergence, sample


def test_divergence_is_that_of_torch() -> None:
    torch.manual_seed(0)
    mean, log_variance, other, other_log = torch.randn(4, 5, 3)
    left, right = Normal(mean, (0.5 * log_variance).exp()), Normal(other, (0.5 * other_log).exp())
    torch.testing.assert_close(gaussian_divergence(mean, log_variance, (other, other_log)), kl_divergence(left, right).sum(1))
    torch.testing.assert_close(gaussian_divergence(mean, log_variance), kl_divergence(left, Normal(0.0, 1.0)).sum(1))


def test_samples_have_the_moments_and_the_mean_is_given_without_noise() -> None:
    torch.manual_seed(0)
    mean, log_variance = torch.full((200_000,), 2.0), torch.full((200_000,), 1.0)
    drawn = sample(mean, log_variance, noisy=True)
    assert abs(float(drawn.mean()) - 2) < 0.02
    assert abs(float(drawn.var()) - 2.71828) < 0.05
    assert torch.equal(sample(mean, log_variance, noisy=False), mean)


def test_annealing_ends_at_one() -> None:
    assert [annealed(step, 4) for step in (0, 1, 4, 9)] == [0, 0.25, 1, 1]
    assert annealed(3, 0) == 1
