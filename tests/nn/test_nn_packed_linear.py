"""Packed weights answer what the layers answered."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from recsmith.nn.packed_linear import PackedLinear, can_pack, packed

pytestmark = pytest.mark.skipif(not can_pack(), reason="this build of torch has no mkldnn")


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 24), nn.ReLU(), nn.Sequential(nn.Linear(24, 5, bias=False)))


@pytest.mark.parametrize(("weights", "tolerance"), [("fp32", 1e-6), ("bf16", 0.03)])
def test_same_answers_for_any_number_of_rows(weights, tolerance):
    model = small()
    fast = packed(model, weights)
    for shape in [(1, 12), (7, 12), (3, 4, 12), (0, 12)]:
        x = torch.randn(*shape)
        answer = fast(x)
        assert answer.dtype == (torch.bfloat16 if weights == "bf16" else torch.float32)
        torch.testing.assert_close(answer.float(), model(x), atol=tolerance, rtol=tolerance)


def test_the_model_itself_stays_as_it_is():
    model = small()
    fast = packed(model, "bf16")
    assert isinstance(model[0], nn.Linear)
    assert model[0].weight.requires_grad
    assert isinstance(fast[2][0], PackedLinear)
    assert not any(parameter.requires_grad for parameter in fast.parameters())
    assert list(fast.state_dict()) == list(model.state_dict())
