"""LRURec's scan over packed rows against the recurrence as it is defined: one row, one event after the other, complex matrices."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from recsmith.data import Histories
from recsmith.models.lrurec import LruRec, LruRecConfig
from recsmith.nn.linear_recurrence import LinearRecurrentUnit
from recsmith.training import to_batch

ITEMS, LENGTH = 30, 6
ROWS = [[3, 1, 4, 1, 5], [9, 2], [6], [], [5, 3, 5, 8, 9, 7, 9], [2, 7, 1, 8, 2, 8, 1, 8, 2]]


def recurrent(unit: LinearRecurrentUnit, row: Tensor) -> Tensor:
    """h ← Λ h + γ ⊙ (B x + b); y = Re(C h) + c. `[length, dim]` → `[length, dim]`."""
    size = torch.exp(-torch.exp(unit.log_decay))
    decay = torch.complex(size * unit.log_angle.exp().cos(), size * unit.log_angle.exp().sin())
    into = torch.complex(unit.project_in.weight[0::2], unit.project_in.weight[1::2])
    shift = torch.complex(unit.project_in.bias[0::2], unit.project_in.bias[1::2])
    out = torch.complex(unit.project_out.weight[:, 0::2], -unit.project_out.weight[:, 1::2])
    state, outputs = torch.zeros_like(decay), []
    for x in row:
        state = decay * state + unit.log_scale.exp() * (into @ x.to(into.dtype) + shift)
        outputs.append((out @ state).real + unit.project_out.bias)
    return torch.stack(outputs)


def states(model: LruRec, row: list[int]) -> Tensor:
    x = model.input_norm(model.items(torch.tensor(row)))
    for block in model.blocks:
        x = block.unit_norm(x + recurrent(block.unit, x))
        x = block.feed_forward_norm(x + block.feed_forward.narrow(F.gelu(block.feed_forward.widen(x))))
    return x


def test_parallel_equals_recurrent_forward_and_backward() -> None:
    torch.manual_seed(0)
    model = LruRec(LruRecConfig(dim=12, state=7, hidden=20, max_history=LENGTH, init_std=0.3), items=ITEMS).eval()
    with torch.no_grad():
        model.start.normal_()
        model.bias.normal_()
    scores = model.score(to_batch(Histories.from_rows(ROWS)))
    last = torch.stack([states(model, row[-LENGTH:])[-1] if row else model.start for row in ROWS])
    torch.testing.assert_close(scores, last @ model.items.weight.T + model.bias, rtol=1e-4, atol=1e-5)

    kept = [row[-LENGTH - 1 :] for row in ROWS if row]
    hidden = torch.cat([states(model, row[:-1]) for row in kept if len(row) > 1] + [model.start.expand(len(kept), -1)])
    targets = torch.tensor([item for row in kept for item in row[1:]] + [row[0] for row in kept])
    reference = F.cross_entropy(hidden @ model.items.weight.T + model.bias, targets)
    loss = model.loss(to_batch(Histories.from_rows(ROWS)), 0)
    torch.testing.assert_close(loss, reference, rtol=1e-5, atol=1e-6)
    parameters = list(model.parameters())
    for a, b in zip(*(torch.autograd.grad(x, parameters) for x in (loss, reference)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
