"""Dropout whose masks cost a byte of randomness per unit: on a CPU ten times as fast as the usual one, which draws a float each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def dropout(x: Tensor, p: float, *, training: bool) -> Tensor:
    """Zero each unit of `x` with probability p and scale the rest so that the mean stays.

    On a CPU, p is rounded to a multiple of 1/256 (0.1 becomes 0.1016) and the scale fits the rounded value; probabilities that
    would round to 0 or 1, and other devices, use torch's own dropout. Draws from torch's default generator.
    """
    threshold = round(p * 256)
    if not training or p == 0.0:
        return x
    if x.device.type != "cpu" or not 0 < threshold < 256:
        return functional.dropout(x, p, training=True)
    return _ByteDropout.apply(x, threshold)


class Dropout(nn.Module):
    """`dropout` as a module."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p, training=self.training)


class _ByteDropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, threshold: int) -> Tensor:
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        # signed bytes: uniform on -128 … 127, and compared faster than unsigned ones
        kept = words.view(torch.int8)[: x.numel()].view(x.shape) >= threshold - 128
        ctx.save_for_backward(kept)
        ctx.scale = 256 / (256 - threshold)
        return x * _factor(kept, ctx.scale, x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return gradient * _factor(kept, ctx.scale, gradient.dtype), None


def _factor(kept: Tensor, scale: float, dtype: torch.dtype) -> Tensor:
    # by way of int8, since torch converts bool to floats one by one
    return kept.view(torch.int8).to(dtype).mul_(scale)
