"""Calling a network whose weights are to get no gradient, although what goes into it does."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def frozen(network: nn.Module, *inputs: Tensor) -> Any:
    """`network(*inputs)` with gradients for the inputs only."""
    weights = {name: tensor.detach() for name, tensor in [*network.named_parameters(), *network.named_buffers()]}
    return torch.func.functional_call(network, weights, inputs)


@torch.no_grad()
def follow(target: nn.Module, network: nn.Module, rate: float) -> None:
    """Move the weights of `target` by the share `rate` towards those of `network`: a target network of Q-learning."""
    for old, new in zip(target.parameters(), network.parameters(), strict=True):
        old.lerp_(new, rate)
