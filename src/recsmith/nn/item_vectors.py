"""Given vectors of the items inside a model, and tables made of them that are kept until a weight changes.

Letters of the shapes: `item` = size of the catalogue, `dim` = length of a given vector.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn


class ItemVectors(nn.Module):
    """Vectors that are given, not learned: they move with the model and stay out of its saved weights."""

    values: Tensor

    def __init__(self, vectors: np.ndarray | Tensor) -> None:
        """`vectors` `[item, dim]`; kept as float32."""
        super().__init__()
        self.register_buffer("values", torch.as_tensor(np.asarray(vectors), dtype=torch.float32), persistent=False)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.values.shape[1]

    def forward(self, items: Tensor) -> Tensor:
        """Item indices int64 `[token]` → `[token, dim]`."""
        return self.values[items]


class KeptTable:
    """The result of `make` for a module: made anew while gradients flow, and otherwise kept until one of the module's tensors changes."""

    def __init__(self, module: nn.Module, make: Callable[[], Tensor]) -> None:
        self._module = [module]  # in a list, so that the module does not become its own child
        self._make = make
        self._state: tuple[tuple[int, int], ...] = ()
        self._table: Tensor | None = None

    def __call__(self) -> Tensor:
        """The table of the weights as they are now."""
        module = self._module[0]
        if module.training or torch.is_grad_enabled():
            return self._make()
        state = tuple((tensor.data_ptr(), tensor._version) for tensor in (*module.parameters(), *module.buffers()))
        if self._table is None or state != self._state:
            self._table, self._state = self._make(), state
        return self._table
