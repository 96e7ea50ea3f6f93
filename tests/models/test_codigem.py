from __future__ import annotations

import pytest
import torch

from recsmith.data import Histories
from recsmith.models.codigem import Codigem, CodigemConfig
from recsmith.testing import ScoreModelTests
from recsmith.training import to_batch

SMALL = CodigemConfig(hidden=[2], noise=0.01)  # narrow, or it would learn to copy its input
BATCH = to_batch(Histories.from_rows([[1, 5, 7], [2], [], [3, 3, 9, 1]]))


class TestCodigem(ScoreModelTests):
    model_class = Codigem
    config = SMALL


@torch.no_grad()
def test_a_perfect_reverse_step_costs_nothing() -> None:
    """The divergence is 0 where the network predicts the true posterior, worked out here from q(z1 | x) · q(z2 | z1)."""
    torch.manual_seed(0)
    model, noise = Codigem(SMALL, items=12), 0.01
    clean = model._rows(BATCH)
    first = model._next(clean)
    second = model._next(first)
    precision = 1 / noise + (1 - noise) / noise
    mean = ((1 - noise) ** 0.5 * clean / noise + (1 - noise) ** 0.5 * second / noise) / precision
    perfect = torch.cat([mean, torch.full_like(mean, -torch.tensor(precision).log().item())], 1)
    assert model._divergence(perfect, clean, second, 1).item() == pytest.approx(0, abs=1e-3)
    assert model._divergence(perfect + 0.1, clean, second, 1).item() > 1


@torch.no_grad()
def test_noisy_states_have_the_moments_of_theory() -> None:
    torch.manual_seed(0)
    model = Codigem(CodigemConfig(hidden=[4], noise=0.3), items=4)
    state = torch.ones(200_000, 1)
    for number in range(3):
        state = model._next(state)
        assert state.mean().item() == pytest.approx(0.7 ** ((number + 1) / 2), abs=0.01)
        assert state.mean().item() == pytest.approx(model.diffusion.signal_scale[number].item(), abs=0.01)
        assert state.std().item() == pytest.approx(model.diffusion.noise_scale[number].item(), abs=0.01)


def test_without_weight_the_reverse_steps_cost_nothing() -> None:
    torch.manual_seed(0)
    model = Codigem(SMALL.override(reverse_weight=0), items=12)
    model.loss(BATCH, 0).backward()
    assert all(p.grad is None for p in model.later.parameters())
    assert all(p.grad is not None for p in model.first.parameters())
