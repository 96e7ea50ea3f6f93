"""Split protocols: which events train, which validate, which test. Stable order, and the tie rule written down."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field

from recsmith.config import Config
from recsmith.data.histories import Cases, Histories
from recsmith.data.vocabulary import Vocabulary

SplitName = Literal[
    "leave-one-out",
    "ratio",
    "global-temporal",
    "strong-generalisation",
    "item-cold-start",
    "user-cold-start",
    "session-prefixes",
    "next-basket",
    "explicit-rating",
]

_SHARES = ("validation_share", "test_share")
_DECIDING: dict[str, tuple[str, ...]] = {
    "leave-one-out": (),
    "ratio": _SHARES,
    "global-temporal": (*_SHARES, "origins", "origin"),
    "strong-generalisation": (*_SHARES, "target_share", "seed"),
    "item-cold-start": (*_SHARES, "seed"),
    "user-cold-start": (*_SHARES, "known_events", "seed"),
    "session-prefixes": (*_SHARES, "session_gap"),
    "next-basket": ("basket_seconds",),
    "explicit-rating": (*_SHARES, "seed"),
}
"""Which fields a protocol reads."""


class SplitConfig(Config):
    """A named split and its parameters; name, version and parameters stand in every result."""

    name: SplitName = "leave-one-out"
    """leave-one-out: last event = test, last but one = validation; next-basket: the same with sets of events; the others as they say."""
    version: Literal[1] = 1
    """Version of the protocol; changes when the rule changes."""
    validation_share: float = Field(0.1, ge=0, lt=1)
    """Share for validation of what the protocol draws: events (ratio, global-temporal, explicit-rating), users, items or sessions."""
    test_share: float = Field(0.1, ge=0, lt=1)
    """Share of events, users, items or sessions for the test."""
    target_share: float = Field(0.2, gt=0, lt=1)
    """strong-generalisation: share of a held-out user's events (the last ones) that are to be predicted."""
    known_events: int = Field(3, ge=1)
    """user-cold-start: how many events of a new person may be looked at; the next one is to be predicted."""
    session_gap: float = Field(1800.0, ge=0)
    """session-prefixes: pause that ends a session, in seconds; 0 takes each row of the log as one session."""
    basket_seconds: float = Field(0.0, ge=0)
    """next-basket: events of one person in the same window of this many seconds are one basket; 0: events of equal time."""
    origins: int = Field(1, ge=1)
    """global-temporal: number of rolling origins; the test period is cut into as many windows with equally many events."""
    origin: int = Field(0, ge=0)
    """global-temporal: which of the origins this is, from 0; training ends before its window, what comes after the window is ignored."""
    train_share: float = Field(1.0, gt=0, le=1)
    """Share of the people with training events, drawn by `seed`, whose events train; validation and test cases stay as they are."""
    seed: int = 0
    """Seed of the protocols that draw users, items or events, and of `train_share`."""

    @property
    def deciding(self) -> dict[str, Any]:
        """Name, version and the parameters that this protocol reads."""
        drawn = ("train_share", "seed") if self.train_share < 1 else ()
        read = (*_DECIDING[self.name], *drawn)
        return {"name": self.name, "version": self.version, **{field: getattr(self, field) for field in read}}

    @property
    def hash(self) -> str:
        """Eight hexadecimal digits of what decides: equal hashes, equal cuts of the same log."""
        return hashlib.sha256(json.dumps(self.deciding, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def repeats_items(self) -> bool:
        """Whether people take the same item again in this task, so that items seen are not masked."""
        return self.name in ("session-prefixes", "next-basket")


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
