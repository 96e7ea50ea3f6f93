"""Linear layers whose weights are stored as 8-bit integers: a quarter of the memory, the same interface, for inference."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Int8Linear(nn.Module):
    """`x @ W.T + b` with W rounded to 255 levels, one scale per output (absolute maximum); accumulates in the type of `x`.

    Absmax quantisation of weights alone, after Dettmers et al., 2022 (LLM.int8()). Deviations: activations stay as they are, and no outlier
    columns are kept apart.
    """

    weight: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight, scale = rounded_rows(linear.weight.detach().float())
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """`[…, in]` → `[…, out]`."""
        product = functional.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return product if self.bias is None else product + self.bias.to(x.dtype)


def rounded_rows(full: Tensor) -> tuple[Tensor, Tensor]:
    """Float weights `[out, in]` → integers from -127 to 127, int8 `[out, in]`, and what each row is to be multiplied by, `[out]`."""
    scale = full.abs().amax(dim=1).clamp(min=1e-12) / 127
    return (full / scale[:, None]).round().clamp(-127, 127).to(torch.int8), scale


def quantise_linears(module: nn.Module, *, skip: tuple[str, ...] = ("lm_head",)) -> int:
    """Put an `Int8Linear` in the place of every linear layer inside, but those called `skip`; returns how many."""
    count = 0
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Linear) and name not in skip:
            setattr(module, name, Int8Linear(child))
            count += 1
        elif name not in skip:
            count += quantise_linears(child, skip=skip)
    return count
