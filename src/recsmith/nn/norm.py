"""Root-mean-square norm (Zhang & Sennrich, 2019) with a backward pass of its own: torch composes it of a dozen passes on a CPU."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class RMSNorm(nn.Module):
    """Divide by the root of the mean square over the last dimension, times a learned weight `[dim]`; no mean, no bias.

    Computes in float32 whatever the input. `[…, dim]` → `[…, dim]`.
    """

    least: Tensor
    zero: Tensor

    def __init__(self, dim: int, *, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps
        self.register_buffer("least", torch.tensor(math.sqrt(eps * dim)), persistent=False)
        self.register_buffer("zero", torch.tensor(0.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and not torch.is_grad_enabled():
            return self._in_few_calls(x.float())
        if x.device.type == "cpu":
            return _RmsNorm.apply(x.float(), self.weight, self.eps)
        return functional.rms_norm(x.float(), self.weight.shape, self.weight, self.eps)

    def _in_few_calls(self, x: Tensor) -> Tensor:
        """Without a gradient: for a few rows, as in a search, the calls cost more than the arithmetic."""
        length = torch.hypot(torch.linalg.vector_norm(x, dim=-1, keepdim=True), self.least)
        return torch.addcdiv(self.zero, x, length, value=math.sqrt(x.shape[-1])).mul_(self.weight)


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()
        inverse = square.div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, inverse)
        return (x * inverse).mul_(weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, inverse = ctx.saved_tensors
        unit = x * inverse
        along = gradient * unit
        for_weight = along.flatten(0, -2).sum(dim=0)
        mean = (along @ weight).div_(x.shape[-1])[..., None]
        return (gradient * weight).addcmul_(unit, mean, value=-1).mul_(inverse), for_weight, None
