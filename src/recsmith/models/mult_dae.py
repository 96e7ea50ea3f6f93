"""Mult-DAE: a denoising autoencoder of people's item sets with a multinomial likelihood (Liang et al. 2018)."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from recsmith.config import Config
from recsmith.nn.bags import BagLinear, distinct, multinomial_loss, unit_weights
from recsmith.protocols import HistoryBatch


class MultDaeConfig(Config):
    """Sizes and regularisation of Mult-DAE."""

    hidden: list[PositiveInt] = Field(default=[200], min_length=1)
    """Widths of the layers from the items inwards, the code last; the decoder mirrors them."""
    dropout: float = Field(default=0.5, ge=0, lt=1)
    """Share of a history's items hidden from the encoder in training."""


class MultDae(nn.Module):
    """Squeezes the set of a person's items through a narrow layer and decodes it to a distribution over the catalogue.

    Paper: Liang, Krishnan, Hoffman & Jebara, "Variational Autoencoders for Collaborative Filtering", WWW 2018, where it stands beside
    Mult-VAE. The answer is the logits. Order and repetition inside a history do not matter.

    Deviations: there is no weight decay here (the optimiser has one, `training.weight_decay`). The first layer is a sum of item vectors
    over the history, which equals the paper's product with a normalised 0/1 row. Memory in training: the logits `[batch, item]` and up
    to three arrays like them for the gradient.
    """

    Config: ClassVar[type[MultDaeConfig]] = MultDaeConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(self, config: MultDaeConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.items = items
        self.first = BagLinear(items, config.hidden[0])
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise([*config.hidden, *reversed(config.hidden[:-1]), items]))
        for module in self.layers.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)
                nn.init.trunc_normal_(module.bias, std=0.001)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Negative log-likelihood of the history's items given a part of them, mean over rows (empty rows count as 0)."""
        items, offsets = distinct(batch.items, batch.offsets, size=self.items)
        return multinomial_loss(self._logits(items, offsets), items, offsets) / max(len(batch), 1)

    def score(self, batch: HistoryBatch) -> Tensor:
        """`[batch, item]`: logits given the whole history."""
        return self._logits(*distinct(batch.items, batch.offsets, size=self.items))

    def _logits(self, items: Tensor, offsets: Tensor) -> Tensor:
        weights = unit_weights(offsets, tokens=len(items), dtype=self.first.bias.dtype)
        hidden = torch.tanh(self.first(items, offsets, functional.dropout(weights, self.config.dropout, self.training)))
        for layer in self.layers[:-1]:
            hidden = torch.tanh(layer(hidden))
        return self.layers[-1](hidden)
