"""The scan by doubling against the recurrence taken literally."""

from __future__ import annotations

import pytest
import torch

from recsmith.nn.linear_recurrence import LinearRecurrentUnit, linear_scan
from recsmith.nn.packed import offsets_from


def loop(values: torch.Tensor, decay: torch.Tensor, lengths: list[int]) -> torch.Tensor:
    states = []
    for row in values.split(lengths):
        state = torch.zeros_like(decay)
        for value in row:
            state = decay * state + value
            states.append(state)
    return torch.stack(states)


@pytest.mark.parametrize("lengths", [[1], [2, 2], [0, 3, 0, 1, 17], [8], [16, 33]], ids=str)
def test_scan_equals_the_loop_forward_and_backward(lengths: list[int]) -> None:
    torch.manual_seed(0)
    values = torch.randn(sum(lengths), 5, dtype=torch.complex128, requires_grad=True)
    decay = torch.polar(torch.rand(5).double(), 6 * torch.rand(5).double()).requires_grad_()
    found, expected = linear_scan(values, decay, offsets_from(torch.tensor(lengths))), loop(values, decay, lengths)
    torch.testing.assert_close(found, expected)
    direction = torch.randn_like(values)
    gradients = [torch.autograd.grad((states * direction).real.sum(), [values, decay]) for states in (found, expected)]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_gradients_agree_with_finite_differences() -> None:
    torch.manual_seed(1)
    values = torch.randn(7, 2, dtype=torch.complex128, requires_grad=True)
    decay = torch.polar(torch.tensor([0.5, 0.9]).double(), torch.tensor([1.0, 4.0]).double()).requires_grad_()
    assert torch.autograd.gradcheck(lambda *inputs: linear_scan(*inputs, torch.tensor([0, 3, 7])), (values, decay))


def test_no_tokens() -> None:
    values = torch.zeros(0, 3, dtype=torch.complex64)
    assert linear_scan(values, torch.ones(3, dtype=torch.complex64), torch.tensor([0, 0])).shape == (0, 3)


def test_decays_begin_on_the_ring_and_keep_the_size_of_the_state() -> None:
    torch.manual_seed(2)
    unit = LinearRecurrentUnit(dim=4, state=4000, smallest=0.6, largest=0.9)
    size = unit.decay().abs()
    assert 0.599 < size.min() < 0.62
    assert 0.89 < size.max() < 0.901
    noise = torch.randn(300, 4000, dtype=torch.complex64) * unit.log_scale.exp()
    states = linear_scan(noise, unit.decay(), torch.tensor([0, 300]))
    assert abs(states[50:].abs().square().mean().item() - 1) < 0.02
