"""`RowPrompts`: a frozen transformers model behind soft prompts of which each row of an input has its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from recsmith.nn.virtual_tokens import VirtualTokens


class RowPrompts(VirtualTokens):
    """Called as the model itself. `given` `[row, count, dim]` is added to the prompt that all share (a parameter) in the next calls; None:
    nothing."""

    def __init__(self, model: nn.Module, *, count: int) -> None:
        super().__init__(model, count=count, kind="prompt")
        self.given: Tensor | None = None

    def get_output_embeddings(self) -> Any:
        """Those of the model."""
        return self.model.get_output_embeddings()  # type: ignore[operator]

    def _behind(self, embedded: Tensor) -> Tensor:
        shared = self.virtual.expand(len(embedded), -1, -1)
        return torch.cat([shared if self.given is None else shared + self.given.to(shared.dtype), embedded], dim=1)
