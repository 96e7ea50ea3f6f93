"""`PackedRows`: rows of numbers as buffers of a module, so that they are saved and loaded with its weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class PackedRows(nn.Module):
    """Row r is `values[offsets[r]:offsets[r + 1]]`; int64."""

    values: Tensor
    offsets: Tensor

    def __init__(self, values: np.ndarray | None = None, offsets: np.ndarray | None = None) -> None:
        super().__init__()
        self.register_buffer("values", torch.from_numpy(np.array([] if values is None else values, dtype=np.int64)))
        self.register_buffer("offsets", torch.from_numpy(np.array([0] if offsets is None else offsets, dtype=np.int64)))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """How many rows there are is known only to the file: take its sizes before its values."""
        for name in ("values", "offsets"):
            stored = state_dict.get(prefix + name)
            if stored is not None:
                setattr(self, name, getattr(self, name).new_zeros(stored.shape))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
