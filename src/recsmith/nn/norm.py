"""Root-mean-square norm (Zhang & Sennrich, 2019) with a backward pass of its own: torch composes it of a dozen passes on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class RMSNorm(nn.Module):
    """Divide by the root of the mean square over the last dimension, times a learned weight `[dim]`; no mean, no bias.

    Computes in float32 whatever the input. `[…, dim]` → `[…, dim]`.
    """

    def __init__(self, dim: int, *, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu":
            return _RmsNorm.apply(x.float(), self.weight, self.eps)
        return functional.rms_norm(x.float(), self.weight.shape, self.weight, self.eps)


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
