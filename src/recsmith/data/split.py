"""Split protocols: which events train, which validate, which test. Stable order, and the tie rule written down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from recsmith.config import Config
from recsmith.data.histories import Cases, Histories
from recsmith.data.vocabulary import Vocabulary

SplitName = Literal["leave-one-out", "ratio", "global-temporal", "strong-generalisation", "item-cold-start"]


class SplitConfig(Config):
    """A named split and its parameters; name, version and parameters stand in every result."""

    name: SplitName = "leave-one-out"
    """leave-one-out: last event = test, last but one = validation; the others as their names say."""
    version: Literal[1] = 1
    """Version of the protocol; changes when the rule changes."""
    validation_share: float = Field(0.1, ge=0, lt=1)
    """Share of events (ratio, global-temporal), users (strong-generalisation) or items (item-cold-start) for validation."""
    test_share: float = Field(0.1, ge=0, lt=1)
    """Share of events, users or items for the test."""
    target_share: float = Field(0.2, gt=0, lt=1)
    """strong-generalisation: share of a held-out user's events (the last ones) that are to be predicted."""
    seed: int = 0
    """Seed of the protocols that draw users or items."""


TIE_RULE = "events of equal time keep the order of the file"


@dataclass(frozen=True)
class Log:
    """Interactions by index: one row of `histories` per user, oldest first, ties in file order."""

    users: Vocabulary
    items: Vocabulary
    histories: Histories


@dataclass(frozen=True)
class Split:
    """A log cut by a protocol. Everything learned or counted comes from `train` alone."""

    config: SplitConfig
    train: Histories
    """One row per user of the log (rows of held-out users are empty)."""
    validation: Cases
    test: Cases
    items: int
    """Size of the catalogue."""
    figures: dict[str, float | int | str]
    """What happened: users left out and why, users whose target depends on the tie rule, …"""

    @property
    def trained_items(self) -> np.ndarray:
        """Whether an item occurs in training, bool `[item]`."""
        seen = np.zeros(self.items, dtype=bool)
        seen[self.train.values] = True
        return seen
