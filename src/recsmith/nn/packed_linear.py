"""Linear maps whose weights lie in memory as the CPU's matrix product wants them, for models that only answer and no longer learn."""

from __future__ import annotations

from copy import deepcopy
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

Weights = Literal["fp32", "bf16"]
"""Type of the products: fp32 changes nothing but the order of sums; bf16 multiplies in bfloat16 and sums in float32."""

Model = TypeVar("Model", bound=nn.Module)


class PackedLinear(nn.Module):
    """`nn.Linear` for inference on a CPU. `[…, inputs]` → `[…, outputs]`, in the type of the weights."""

    def __init__(self, linear: nn.Linear, weights: Weights) -> None:
        super().__init__()
        self.dtype = torch.bfloat16 if weights == "bf16" else torch.float32
        self.weight, self.bias = linear.weight, linear.bias
        self._packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach().to(self.dtype))
        self._added = None if linear.bias is None else linear.bias.detach().to(self.dtype)

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x.to(self.dtype), self._packed, self._added, "none", [], "")


def can_pack() -> bool:
    """Whether this build of torch has the products that packing needs."""
    return torch.backends.mkldnn.is_available()


def packed(model: Model, weights: Weights) -> Model:
    """A copy of a model on the CPU, in eval mode, with every `nn.Linear` packed. Residual sums, norms and output heads that use a weight
    directly stay in float32. The copy cannot be trained, and its state dict is that of the model."""
    copy = deepcopy(model).eval().requires_grad_(False)
    for module in list(copy.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear:
                setattr(module, name, PackedLinear(child, weights))
    return copy
