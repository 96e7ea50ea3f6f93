"""Linear recurrence with a complex decay per channel, on packed rows, and the unit and block built on it (Orvieto et al., 2023).

Letters of the shapes: `token` = steps of all rows laid end to end, `row` = rows of the batch, `state` = complex channels.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from recsmith.nn.attention import FeedForward
from recsmith.nn.dropout import Dropout
from recsmith.nn.packed import positions


def linear_scan(values: Tensor, decay: Tensor, offsets: Tensor) -> Tensor:
    """h[t] = decay · h[t − 1] + values[t] within each row, h before a row being 0.

    `values` complex `[token, state]`, `decay` complex `[state]`, `offsets` int64 `[row + 1]` → `[token, state]`. All rows at once
    and without padding, in log2(longest row) passes: pass s adds, decayed, the sum that ended 2^s steps earlier. The gradient is
    the same recurrence run backwards; a second derivative does not exist.
    """
    if not len(values):
        return values
    return _LinearScan.apply(values, decay, positions(offsets, tokens=len(values)))


class _LinearScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, decay: Tensor, place: Tensor) -> Tensor:
        states = _scan(values, decay, place)
        ctx.save_for_backward(states, decay, place)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, Tensor, None]:
        states, decay, place = ctx.saved_tensors
        by_values = _scan(above, decay.conj().resolve_conj(), place, backwards=True)
        inside = (place[1:] > 0)[:, None]
        by_decay = (by_values[1:] * inside * states[:-1].conj()).sum(0)
        return by_values, by_decay, None


def _scan(values: Tensor, decay: Tensor, place: Tensor, *, backwards: bool = False) -> Tensor:
    sums, power, step, longest = values.clone(), decay, 1, int(place.max()) + 1
    while step < longest:
        linked = (place[step:] >= step)[:, None]  # whether the token `step` places earlier belongs to the same row
        early, late = sums[:-step], sums[step:]
        if backwards:
            early += (late * power).mul_(linked)
        else:
            late += (early * power).mul_(linked)
        power, step = power * power, step * 2
    return sums


class LinearRecurrentUnit(nn.Module):
    """Projection into complex channels, a diagonal linear recurrence, and the real part of a projection back.

    The decay exp(−exp(ν) + i·exp(θ)) stays inside the unit circle whatever is learned; inputs are scaled by a learned γ that begins
    where the variance of the state does not depend on the decay. `[token, dim]` → `[token, dim]`.
    """

    def __init__(self, *, dim: int, state: int, smallest: float, largest: float) -> None:
        """`state` complex channels whose decays begin with a modulus between `smallest` and `largest`, spread over that ring."""
        super().__init__()
        self.project_in = nn.Linear(dim, 2 * state)
        self.project_out = nn.Linear(2 * state, dim)
        squares = torch.rand(state) * (largest**2 - smallest**2) + smallest**2
        self.log_decay = nn.Parameter((-0.5 * squares.log()).log())
        self.log_angle = nn.Parameter((torch.rand(state).clamp(min=1e-4) * 2 * math.pi).log())
        self.log_scale = nn.Parameter(0.5 * torch.log1p(-squares))

    def decay(self) -> Tensor:
        """Complex `[state]`."""
        return torch.polar((-self.log_decay.exp()).exp(), self.log_angle.exp())

    def forward(self, tokens: Tensor, offsets: Tensor) -> Tensor:
        with torch.autocast(tokens.device.type, enabled=False):  # there are no complex numbers of half precision to fall back to
            inputs = self.project_in(tokens.float()).unflatten(1, (-1, 2)) * self.log_scale.exp()[:, None]
            states = linear_scan(torch.view_as_complex(inputs), self.decay(), offsets)
            return self.project_out(torch.view_as_real(states).flatten(1))


class LinearRecurrentBlock(nn.Module):
    """The unit, then feed-forward, each with dropout, a residual path and layer norm after it. `[token, dim]` → `[token, dim]`."""

    def __init__(self, *, unit: LinearRecurrentUnit, dim: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.unit = unit
        self.feed_forward = FeedForward(dim=dim, hidden=hidden, dropout=dropout)
        self.unit_norm = nn.LayerNorm(dim)
        self.feed_forward_norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)

    def forward(self, tokens: Tensor, offsets: Tensor) -> Tensor:
        tokens = self.unit_norm(tokens + self.dropout(self.unit(tokens, offsets)))
        return self.feed_forward_norm(tokens + self.dropout(self.feed_forward(tokens)))
