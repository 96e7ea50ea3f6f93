"""Low-rank updates mixed anew for each row of a batch: a language model that reads every person's prompt with weights of their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from recsmith.nn.low_rank import MixedLowRank, Mixture
from recsmith.tuning_language.network import LanguageNetwork, NetworkConfig
from recsmith.tuning_language.tuner import TunerConfig


class PersonalNetwork(LanguageNetwork):
    """A network with several low-rank updates beside each linear map; `mixture` says how much of each a row gets. Without it: none."""

    mixture: Mixture

    def __init__(self, config: NetworkConfig, *, parts: int, rank: int, scale: float) -> None:
        super().__init__(config, TunerConfig())
        self.mixture = Mixture()
        self._shape: dict[str, Any] = {"parts": parts, "rank": rank, "scale": scale}

    def around(self, model: Any) -> Any:
        """The model with its linear maps (not the head) replaced in place."""
        head = model.get_output_embeddings()
        linears = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and module is not head]
        for name in linears:
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, MixedLowRank(model.get_submodule(name), self.mixture, **self._shape))
        return model

    def tune(self) -> None:
        """From now on only the updates learn."""
        self.requires_grad_(False)
        for part in self.model.modules():
            if isinstance(part, MixedLowRank):
                part.down.requires_grad_(True)
                part.up.requires_grad_(True)


class Router(nn.Module):
    """Vectors of people → shares of the updates, `[person, dim]` → `[person, part]`; the shares of a person add up to 1."""

    def __init__(self, dim: int, *, hidden: int, parts: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, parts))

    def forward(self, people: Tensor) -> Tensor:
        found: Tensor = torch.softmax(self.layers(people), dim=1)
        return found
