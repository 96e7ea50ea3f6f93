"""`QuantisedLinear`: a frozen linear map whose weights are kept in four or eight bits, with gradients for what goes into it."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from recsmith.nn.int8 import rounded_rows

Form = Literal["nf4", "int8"]
_BLOCK = 64


class QuantisedLinear(nn.Module):
    """`[…, in]` → `[…, out]` with rounded weights that never learn; float weights exist only while a product is taken, in both directions.

    "nf4": 4-bit NormalFloat of "QLoRA: Efficient finetuning of quantized LLMs" (Dettmers et al., 2023, arXiv:2305.14314), two weights per
    byte, every 64 weights divided by their largest magnitude. "int8": 255 even levels, one scale per output. The bias stays float.

    Deviations: scales stay float32 (no double quantisation), so a weight takes 4.5 bits; products are taken in the type of the input; no
    paged optimiser.
    """

    packed: Tensor
    scales: Tensor

    def __init__(self, linear: nn.Linear, form: Form) -> None:
        super().__init__()
        self.form, self.in_features, self.out_features = form, linear.in_features, linear.out_features
        full = linear.weight.detach().float()
        packed, scales = rounded_rows(full) if form == "int8" else pack_nf4(full)
        self.register_buffer("packed", packed)
        self.register_buffer("scales", scales)
        self.bias = linear.bias

    @property
    def weight(self) -> Tensor:
        """Shape and number type of the weights, without the numbers (a tensor on "meta"): some models look at the type."""
        return torch.empty(self.out_features, self.in_features, device="meta")

    def dequantised(self) -> Tensor:
        """The rounded weights as float32, `[out, in]`."""
        return _unpacked(self.packed, self.scales, self.form, (self.out_features, self.in_features))

    def to_linear(self) -> nn.Linear:
        """A float map that answers the same, at its full size; what was lost in rounding stays lost."""
        linear = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None, device=self.packed.device)
        with torch.no_grad():
            linear.weight.copy_(self.dequantised())
            if self.bias is not None:
                linear.bias.copy_(self.bias)
        return linear

    def forward(self, x: Tensor) -> Tensor:
        product: Tensor = _Product.apply(x, self.packed, self.scales, self.form, (self.out_features, self.in_features))
        return product if self.bias is None else product + self.bias.to(product.dtype)


class _Product(torch.autograd.Function):
    """`x @ W.T`, which keeps the packed weights alone for the way back."""

    @staticmethod
    def forward(context: Any, x: Tensor, packed: Tensor, scales: Tensor, form: Form, shape: tuple[int, int]) -> Tensor:
        context.save_for_backward(packed, scales)
        context.form, context.shape = form, shape
        return functional.linear(x, _unpacked(packed, scales, form, shape).to(x.dtype))

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Any:
        packed, scales = context.saved_tensors
        (gradient,) = gradients
        return gradient @ _unpacked(packed, scales, context.form, context.shape).to(gradient.dtype), None, None, None, None


def quantise(model: nn.Module, form: Form, *, spare: nn.Module | None = None) -> int:
    """Put a `QuantisedLinear` in the place of every linear map inside the model but `spare`; returns how many."""
    found = [(name, part) for name, part in model.named_modules() if isinstance(part, nn.Linear) and part is not spare]
    for name, part in found:
        _replace(model, name, part, QuantisedLinear(part, form))
    return len(found)


def restore(model: nn.Module) -> int:
    """Put a float map in the place of every `QuantisedLinear`, with the rounded weights; returns how many."""
    found = [(name, part) for name, part in model.named_modules() if isinstance(part, QuantisedLinear)]
    for name, part in found:
        _replace(model, name, part, part.to_linear())
    return len(found)


def weight_count(model: nn.Module) -> int:
    """How many weights the model has, those that are kept in few bits included."""
    rounded = sum(part.in_features * part.out_features for part in model.modules() if isinstance(part, QuantisedLinear))
    return rounded + sum(parameter.numel() for parameter in model.parameters())


def nf4_levels() -> Tensor:
    """The 16 values of NF4 in order, float64: quantiles of the normal distribution that reach from -1 to 1, with 0 among them.

    Seven lie below 0 and eight above, on each side at even steps of probability; the outermost tail is the mean of 1/30 and 1/32.
    """
    edge = 1 - (1 / 30 + 1 / 32) / 2
    above, below = (torch.special.ndtri(torch.linspace(0.5, edge, steps, dtype=torch.float64)) for steps in (9, 8))
    return torch.cat([-below.flip(0), above[1:]]) / above[-1]


def pack_nf4(full: Tensor) -> tuple[Tensor, Tensor]:
    """Float weights → bytes of two levels each, uint8 `[ceil(n / 64) · 32]`, and the largest magnitude of every 64, `[ceil(n / 64)]`."""
    blocks = functional.pad(full.flatten(), (0, -full.numel() % _BLOCK)).view(-1, _BLOCK)
    scales = blocks.abs().amax(dim=1)
    levels = nf4_levels().to(full)
    nearest = torch.bucketize(blocks / scales.clamp(min=1e-30)[:, None], (levels[1:] + levels[:-1]) / 2, out_int32=True)
    first, second = nearest.view(-1, 2).to(torch.uint8).unbind(1)
    return first << 4 | second, scales


def _unpacked(packed: Tensor, scales: Tensor, form: Form, shape: tuple[int, int]) -> Tensor:
    if form == "int8":
        return packed.float() * scales[:, None]
    values = functional.embedding(packed.int(), _pairs(packed.device)).view(-1, _BLOCK) * scales[:, None]
    return values.flatten()[: shape[0] * shape[1]].view(shape)


@cache
def _pairs(device: torch.device) -> Tensor:
    """The two levels that each byte stands for, float32 `[256, 2]`."""
    levels, byte = nf4_levels(), torch.arange(256)
    return torch.stack([levels[byte >> 4], levels[byte & 15]], dim=1).float().to(device)


def _replace(model: nn.Module, name: str, old: nn.Module, new: nn.Module) -> None:
    new._forward_hooks = old._forward_hooks  # small models of one's own hang their dropout there
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, new)
