"""The optimiser, and the learning rate as a pure function of the step: nothing of it to save or restore."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn

from recsmith.training.config import TrainingConfig


def make_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW or Adam over all parameters; only matrices decay, never biases, norms and single vectors."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in parameters if parameter.dim() >= 2]
    others = [parameter for parameter in parameters if parameter.dim() < 2]
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizer = kind([group for group in groups if group["params"]], lr=config.learning_rate, fused=True)
    optimizer.register_step_post_hook(_count_as_changed)
    return optimizer


def _count_as_changed(optimizer: torch.optim.Optimizer, *_: object) -> None:
    """A fused step changes weights without counting it (torch 2.13); what is kept of a model, such as `KeptTable`, goes by that count."""
    for group in optimizer.param_groups:
        torch.autograd.graph.increment_version(group["params"])


def learning_rate_factor(step: int, *, total: int, warmup: int, schedule: Literal["constant", "cosine", "linear"]) -> float:
    """Share of the full learning rate at optimiser step `step` (from 0) of `total`."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if schedule == "constant":
        return 1.0
    done = min((step - warmup) / max(total - warmup, 1), 1.0)
    return 1.0 - done if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
