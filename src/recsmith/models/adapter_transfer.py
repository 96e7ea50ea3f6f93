"""Adapter-based transfer: a frozen sequential recommender over texts, and small layers that learn a new domain (Fu et al., WSDM 2024)."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.nn.causal_encoder import CausalEncoder, CausalEncoderConfig, initialise_normal
from recsmith.nn.item_vectors import ItemVectors, KeptTable
from recsmith.nn.losses import fused_cross_entropy
from recsmith.nn.next_step import Encode, NextStep
from recsmith.protocols import HistoryBatch


class AdapterTransferConfig(CausalEncoderConfig):
    """Size of the recommender, and what of it learns."""

    adapters: Literal["none", "houlsby", "pfeiffer", "parallel"] = "none"
    """houlsby: behind attention and feed-forward of each block; pfeiffer: behind feed-forward; parallel: beside both; none: no adapters."""
    bottleneck: int = Field(16, ge=1)
    """Width of an adapter's hidden layer."""
    tuned: Literal["all", "adapters"] = "all"
    """What training moves: everything, or the adapters and layer norms alone."""


class Adapter(nn.Module):
    """Down, GELU, up; it starts as nothing, because the way up starts at zero. `[token, dim]` → `[token, dim]`."""

    def __init__(self, dim: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(dim, bottleneck)
        self.up = nn.Linear(bottleneck, dim)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(nn.functional.gelu(self.down(x)))


class AdapterTransfer(NextStep):
    """Scores an item by the inner product of its transformed text vector with the state after the last event; no weight belongs to an item.

    Paper: "Exploring adapter-based transfer learning for recommender systems: empirical studies and practical insights" (TransRec with
    adapters). Fit the source domain without adapters, then the target domain with `start.run` of that fit, `model.adapters` and
    `model.tuned = "adapters"`: items and histories each have theirs, and all else stays as the source made it.

    Deviations: the texts' encoder is frozen and has no adapters of its own, only the transform behind it; of the paper's designs those that
    differ in place; a full softmax; a learned start vector stands for the empty history.
    """

    Config: ClassVar[type[Config]] = AdapterTransferConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"
    reads: ClassVar[tuple[str, ...]] = ("vectors",)
    inductive: ClassVar[bool] = True

    def __init__(self, config: AdapterTransferConfig, *, items: int, vectors: np.ndarray) -> None:
        super().__init__()
        self.config = config
        self.texts = ItemVectors(vectors)
        self.transform = nn.Sequential(nn.Linear(self.texts.dim, config.dim), nn.GELU(), nn.Linear(config.dim, config.dim))
        self.encoder = CausalEncoder(config)
        self.start = nn.Parameter(torch.zeros(config.dim))
        self.encoder.apply(partial(initialise_normal, std=config.init_std))
        self.adapters = nn.ModuleList(self._hang(place) for place in self._places())
        self._table = KeptTable(self, lambda: self.transform(self.texts.values))
        if config.tuned == "adapters":
            learned = {id(one) for part in (*self.adapters, *self._norms()) for one in part.parameters()}
            for parameter in self.parameters():
                parameter.requires_grad_(id(parameter) in learned)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean over all positions of the cross-entropy of the item that came next; 0 for a batch without events."""
        table = self.transform(self.texts.values)
        states, targets = self.next_states(self._encode(batch, table), batch)
        return fused_cross_entropy(states, table, batch.items[targets])

    def score(self, batch: HistoryBatch) -> Tensor:
        """Scores `[batch, item]`."""
        table = self._table()
        return self.final_states(self._encode(batch, table), batch) @ table.T

    def _encode(self, batch: HistoryBatch, table: Tensor) -> Encode:
        return lambda tokens, offsets: self.encoder(table[batch.items[tokens]], offsets)

    def _places(self) -> list[nn.Module]:
        """The modules that get an adapter: the items' transform, and parts of the blocks."""
        if self.config.adapters == "none":
            return []
        both = self.config.adapters != "pfeiffer"
        parts = [part for block in self.encoder.blocks for part in ([block.attention] if both else []) + [block.feed_forward]]
        return [self.transform, *parts]  # type: ignore[list-item]

    def _hang(self, place: nn.Module) -> Adapter:
        """An adapter whose answer is added to that of `place`; names of weights stay as they are, so that the source's fit."""
        adapter = Adapter(self.config.dim, self.config.bottleneck)
        beside = self.config.adapters == "parallel" and place is not self.transform

        def add(_: nn.Module, inputs: tuple[Any, ...], answer: Tensor) -> Tensor:
            return answer + adapter(inputs[0] if beside else answer)

        place.register_forward_hook(add)
        return adapter

    def _norms(self) -> list[nn.Module]:
        return [part for part in self.encoder.modules() if isinstance(part, nn.LayerNorm)]
