"""AutoRec: an autoencoder that restores a person's ratings from those it has seen (Sedhain et al., 2015)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from recsmith.config import Config
from recsmith.errors import DataError
from recsmith.nn.packed import row_ids
from recsmith.protocols import HistoryBatch


class AutoRecConfig(Config):
    """Size and regularisation of AutoRec."""

    hidden: int = Field(default=200, ge=1)
    """Width of the hidden layer."""
    dropout: float = Field(default=0.3, ge=0, lt=1)
    """Share of the ratings hidden from the encoder in training."""
    weight_penalty: float = Field(default=0.001, ge=0)
    """Weight of the squared output weights of the rated items in the loss."""


class AutoRec(nn.Module):
    """Predicts every rating of a person from the ratings known: W · sigmoid(V · ratings + μ) + b, on ratings around their mean.

    Paper: Sedhain, Menon, Sanner & Xie, "AutoRec: Autoencoders Meet Collaborative Filtering", WWW 2015, in its user-based form (U-AutoRec),
    because only that one answers for people unseen in training. A score is a predicted rating: ranking by it answers "what would they rate
    highest", not "what will they pick next".

    Deviations: ratings enter minus their training mean, so that a missing rating means the average and not zero; the penalty is on the
    output weights of rated items only (the rest is the optimiser's weight decay); part of the ratings is hidden in training. An event
    without a rating counts as the mean.
    """

    Config: ClassVar[type[AutoRecConfig]] = AutoRecConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"
    rates: ClassVar[bool] = True

    centre: Tensor
    """Running mean of the ratings met in training, a scalar."""
    met: Tensor
    """Ratings behind that mean."""

    def __init__(self, config: AutoRecConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = nn.EmbeddingBag(items, config.hidden, mode="sum", include_last_offset=True)
        self.hidden_bias = nn.Parameter(torch.zeros(config.hidden))
        self.decoder = nn.Linear(config.hidden, items)
        self.register_buffer("centre", torch.zeros(()))
        self.register_buffer("met", torch.zeros(()))
        nn.init.xavier_normal_(self.encoder.weight)
        nn.init.xavier_normal_(self.decoder.weight)
        nn.init.zeros_(self.decoder.bias)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean squared error of the known ratings plus the penalty. Raises `DataError` for a log without ratings."""
        if batch.weights is None and len(batch.items):
            raise DataError("AutoRec predicts ratings, but the log has none; give a column `rating`, or take another recipe")
        ratings = self._ratings(batch)
        known = ratings.isfinite()
        if self.training:
            self._remember(ratings[known])
        hidden = self._encode(batch)
        rows = row_ids(batch.offsets, tokens=len(batch.items))[known]
        items, wanted = batch.items[known], ratings[known]
        weights = self.decoder.weight[items]
        predicted = (hidden[rows] * weights).sum(1) + self.decoder.bias[items] + self.centre
        penalty = self.config.weight_penalty * weights.square().sum(1)
        return ((predicted - wanted).square() + penalty).sum() / max(len(wanted), 1)

    def score(self, batch: HistoryBatch) -> Tensor:
        """Predicted ratings, `[batch, item]`."""
        return self.decoder(self._encode(batch)) + self.centre

    def _encode(self, batch: HistoryBatch) -> Tensor:
        ratings = self._ratings(batch)
        around = torch.where(ratings.isfinite(), ratings - self.centre, 0)
        around = functional.dropout(around, self.config.dropout, self.training)
        return (self.encoder(batch.items, batch.offsets, around) + self.hidden_bias).sigmoid()

    def _ratings(self, batch: HistoryBatch) -> Tensor:
        return self.centre.expand(len(batch.items)) if batch.weights is None else batch.weights.to(self.hidden_bias.dtype)

    @torch.no_grad()
    def _remember(self, ratings: Tensor) -> None:
        total = self.centre * self.met + ratings.sum()
        self.met += len(ratings)
        self.centre.copy_(total / self.met.clamp(min=1))
