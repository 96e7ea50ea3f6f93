"""Popularity: everybody gets what most people took. The row that every table must beat."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.data import Histories
from recsmith.errors import DataError
from recsmith.protocols import HistoryBatch

_DAY = 86_400.0


class PopularityConfig(Config):
    """Settings of the popularity ranking."""

    half_life: float | None = Field(default=None, gt=0)
    """Days after which an event counts half, measured back from the latest training event; none: all events count alike."""


class Popularity(nn.Module):
    """The baseline of every table: the same scores for everybody, how many training events each item has.

    Validation and test events are never counted. Items of equal count have equal scores; the decoder breaks the tie.
    """

    Config: ClassVar[type[PopularityConfig]] = PopularityConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["closed-form"]] = "closed-form"
    counts: Tensor

    def __init__(self, config: PopularityConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("counts", torch.zeros(items))

    def solve(self, histories: Histories) -> None:
        """Count the events; raises `DataError` where `half_life` is set and the events have no times."""
        counts = np.bincount(histories.values, weights=self._weights(histories), minlength=len(self.counts))
        self.counts.copy_(torch.from_numpy(counts))

    def score(self, batch: HistoryBatch) -> Tensor:
        """`[batch, item]`: the counts, once per row."""
        return self.counts.repeat(len(batch), 1)

    def _weights(self, histories: Histories) -> np.ndarray | None:
        if self.config.half_life is None:
            return None
        if histories.times is None:
            raise DataError(f"setting `half_life` = {self.config.half_life!r} needs event times, and this log has none; leave it unset")
        ages = histories.times.max(initial=-np.inf) - histories.times
        return np.exp2(-ages / (_DAY * self.config.half_life))
