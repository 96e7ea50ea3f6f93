"""Personal top frequency: what a person took most often comes first; the row that next-basket models must beat."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.data import Histories
from recsmith.nn.baskets import PackedBaskets
from recsmith.nn.packed import reversed_positions
from recsmith.protocols import HistoryBatch


class PersonalTopFrequencyConfig(Config):
    """Settings of personal top frequency."""

    popularity: float = Field(1.0, ge=0)
    """Weight of an item's popularity (at most 1) beside the number of the person's own baskets with it. 1: popularity orders items that
    the person took equally often, and those never taken (GP-TopFreq); 0: own counts alone (P-TopFreq); above 1 it blends in."""
    recency: float = Field(1.0, gt=0, le=1)
    """Weight of a basket relative to the basket after it; 1: all baskets of a person count alike."""
    basket_seconds: float = Field(0.0, ge=0)
    """Events in the same window of this many seconds are one basket; 0: events of equal time. As in the split `next-basket`."""


class PersonalTopFrequency(nn.Module):
    """An item's score is the number of the person's baskets that hold it, plus its popularity in training.

    Papers: the baseline by which Hu, He, Gao & Zhang, "Modeling personalized item frequency information for next-basket
    recommendation", SIGIR 2020, and Li, Jullien, Ariannezhad & de Rijke, "A next basket recommendation reality check", TOIS 2023, measure
    others. Popularity counts an item once per basket and is divided by the largest count plus one: it stays below one basket.

    Deviations: `recency` is ours (Hu et al. let groups of baskets fade); without times every event of a history is a basket of its own.
    """

    Config: ClassVar[type[PersonalTopFrequencyConfig]] = PersonalTopFrequencyConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["closed-form"]] = "closed-form"
    popularity: Tensor

    def __init__(self, config: PersonalTopFrequencyConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("popularity", torch.zeros(items))

    def solve(self, histories: Histories) -> None:
        """Count in how many training baskets each item stands."""
        times = None if histories.times is None else torch.from_numpy(np.ascontiguousarray(histories.times))
        events = HistoryBatch(torch.from_numpy(histories.values), torch.from_numpy(histories.offsets), times=times)
        counts = torch.bincount(self._baskets(events).items, minlength=len(self.popularity))
        self.popularity.copy_(counts / (counts.max() + 1))

    def score(self, batch: HistoryBatch) -> Tensor:
        """`[batch, item]`: own baskets with the item, faded by age, plus its weighted popularity."""
        baskets = self._baskets(batch)
        ages = reversed_positions(baskets.offsets, tokens=len(baskets))
        weights = (self.config.recency ** ages.to(self.popularity.dtype))[baskets.basket_of_token]
        scores = (self.config.popularity * self.popularity).repeat(len(batch), 1)
        return scores.index_put_((baskets.rows[baskets.basket_of_token], baskets.items), weights, accumulate=True)

    def _baskets(self, batch: HistoryBatch) -> PackedBaskets:
        return PackedBaskets.of(batch, items=len(self.popularity), seconds=self.config.basket_seconds)
