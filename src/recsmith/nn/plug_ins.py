"""`PlugIns`: several low-rank updates of one frozen linear map, of which each row of an input uses its own mixture."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


class Mixture:
    """Which plug-ins the rows of the next call use, float `[row, plug-in]`; None: none of them. One object is shared by all maps."""

    weights: Tensor | None = None


class PlugIns(nn.Module):
    """A frozen linear map plus the mixture of `count` low-rank updates that `mixture` names. `[row, …, in]` → `[row, …, out]`."""

    def __init__(self, base: nn.Linear, mixture: Mixture, *, count: int, rank: int, scale: float) -> None:
        super().__init__()
        self.base, self._mixture, self.factor = base, mixture, scale / rank
        self.down = nn.Parameter(torch.empty(count, rank, base.in_features, device=base.weight.device))
        self.up = nn.Parameter(torch.zeros(count, base.out_features, rank, device=base.weight.device))
        nn.init.uniform_(self.down, -math.sqrt(1 / base.in_features), math.sqrt(1 / base.in_features))

    @property
    def weight(self) -> Tensor:
        """The frozen weights, for models that look at their number type."""
        return self.base.weight

    def forward(self, x: Tensor) -> Tensor:
        answer = self.base(x)
        weights = self._mixture.weights
        if weights is None:
            return answer
        hidden = torch.einsum("bti,kri->btkr", x, self.down) * weights[:, None, :, None]
        return answer + torch.einsum("btkr,kor->bto", hidden, self.up) * self.factor


def plugged(model: nn.Module, mixture: Mixture, *, count: int, rank: int, scale: float) -> nn.Module:
    """The model with plug-ins beside every linear map but its output head, in place."""
    whole: Any = model
    head = whole.get_output_embeddings()
    chosen = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and module is not head]
    for name in chosen:
        parent, _, leaf = name.rpartition(".")
        base: Any = model.get_submodule(name)
        setattr(model.get_submodule(parent), leaf, PlugIns(base, mixture, count=count, rank=rank, scale=scale))
    return model
