"""Linear maps in few bits: known levels, bounded errors, exact gradients, and nothing kept that was unpacked."""

from __future__ import annotations

from statistics import NormalDist

import pytest
import torch
from torch import nn
from torch.nn import functional

from recsmith.nn.quantised_linear import Form, QuantisedLinear, nf4_levels, quantise, restore

FORMS: list[Form] = ["nf4", "int8"]


def linear(rows: int = 40, columns: int = 48, *, bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    made = nn.Linear(columns, rows, bias=bias)
    nn.init.normal_(made.weight)
    return made


def test_nf4_levels_are_the_quantiles_of_the_paper() -> None:
    normal, edge = NormalDist(), 929 / 960
    above = [normal.inv_cdf(0.5 + (edge - 0.5) * step / 8) / normal.inv_cdf(edge) for step in range(9)]
    below = [-normal.inv_cdf(0.5 + (edge - 0.5) * step / 7) / normal.inv_cdf(edge) for step in range(7, 0, -1)]
    levels = nf4_levels().tolist()
    assert levels == pytest.approx([*below, *above], abs=1e-9)
    assert levels[0] == -1
    assert levels[7] == 0
    assert levels[15] == 1
    assert [levels[1], levels[8]] == pytest.approx([-0.6961928, 0.0795803], abs=1e-6)


def test_weights_on_the_levels_come_back_as_they_are() -> None:
    levels = nf4_levels().float()
    made = nn.Linear(16, 8, bias=False)
    with torch.no_grad():
        made.weight.copy_(torch.stack([levels.roll(turn) * (1 if turn < 4 else 3) for turn in range(8)]))
    assert torch.equal(QuantisedLinear(made, "nf4").dequantised(), made.weight)


@pytest.mark.parametrize(("form", "bound"), [("nf4", 0.1), ("int8", 0.01)])
def test_the_error_of_normal_weights_is_bounded_and_each_is_the_nearest(form: Form, bound: float) -> None:
    full = linear(64, 100).requires_grad_(False)
    rounded = QuantisedLinear(full, form).dequantised()
    assert float((rounded - full.weight).norm() / full.weight.norm()) < bound
    if form == "nf4":
        blocks = full.weight.detach().view(-1, 64)
        levels = nf4_levels().float() * blocks.abs().amax(dim=1)[:, None]
        nearest = (blocks[:, :, None] - levels[:, None, :]).abs().amin(dim=2)
        torch.testing.assert_close((rounded.view(-1, 64) - blocks).abs(), nearest)


def test_sizes_that_fill_no_block_and_rows_of_zeros() -> None:
    full = linear(3, 7)
    with torch.no_grad():
        full.weight[0] = 0
    for form in FORMS:
        rounded = QuantisedLinear(full, form).dequantised()
        assert rounded.shape == (3, 7)
        assert torch.equal(rounded[0], torch.zeros(7))
    nothing = linear(2, 64)
    nn.init.zeros_(nothing.weight)
    assert torch.equal(QuantisedLinear(nothing, "nf4").dequantised(), torch.zeros(2, 64))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bias", [True, False])
def test_answers_and_gradients_are_those_of_the_rounded_map_and_weights_learn_nothing(form: Form, bias: bool) -> None:
    full = linear(bias=bias).requires_grad_(False)
    made = QuantisedLinear(full, form)
    x = torch.randn(2, 5, 48, requires_grad=True)
    again = x.detach().clone().requires_grad_()
    answer, wanted = made(x), functional.linear(again, made.dequantised(), full.bias)
    torch.testing.assert_close(answer, wanted)
    answer.square().sum().backward()
    wanted.square().sum().backward()
    torch.testing.assert_close(x.grad, again.grad)
    assert not any(one.requires_grad for one in made.parameters())
    assert set(made.state_dict()) == {"packed", "scales", *(["bias"] if bias else [])}


@pytest.mark.parametrize("form", FORMS)
def test_the_way_back_keeps_packed_weights_alone(form: Form) -> None:
    made = QuantisedLinear(linear(bias=False), form)
    kept: list[int] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        made(torch.randn(3, 48, requires_grad=True)).sum().backward()
    assert sum(kept) == sum(one.numel() * one.element_size() for one in made.buffers())


@pytest.mark.parametrize("form", FORMS)
def test_products_in_half_precision_give_gradients_of_the_inputs_type(form: Form) -> None:
    made = QuantisedLinear(linear(), form)
    x = torch.randn(4, 48, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        answer = made(x)
    assert answer.dtype == torch.bfloat16
    answer.float().sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == torch.float32
    torch.testing.assert_close(x.grad, made.dequantised().sum(dim=0).expand(4, -1), rtol=0.02, atol=0.2)


def test_a_model_is_rounded_but_for_what_is_spared_and_restored_to_the_same_answers() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Sequential(nn.Linear(10, 4, bias=False)), nn.Linear(4, 3))
    heard: list[int] = []
    model[0].register_forward_hook(lambda *_: heard.append(1))
    assert quantise(model, "nf4", spare=model[3]) == 2
    assert [type(part) for part in (model[0], model[2][0], model[3])] == [QuantisedLinear, QuantisedLinear, nn.Linear]  # type: ignore[index]
    x = torch.randn(5, 6)
    before = model(x)
    assert restore(model) == 2
    torch.testing.assert_close(model(x), before)
    assert len(heard) == 2
    assert not any(isinstance(part, QuantisedLinear) for part in model.modules())
