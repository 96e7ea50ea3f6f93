"""`Shelf`: what a ranker may look up about the catalogue and about training events while it makes its prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from recsmith.data import Histories
from recsmith.data.item_facts import ItemFacts
from recsmith.protocols import Encode


@dataclass(frozen=True)
class Shelf:
    """The items by number, and who took them in training."""

    texts: Sequence[str]
    """What prompts call each item."""
    facts: ItemFacts
    """Categories and places of the items."""
    encode: Encode
    """Texts → vectors, with the encoder of whoever made the shelf."""
    people: Histories = field(default_factory=lambda: Histories.from_rows([]))
    """Training histories, one row per person; no rows where the ranker does not want them."""
    encode_queries: Encode | None = None
    """As `encode`, for what people say, where the encoder wants it told apart; None: `encode`."""

    @cached_property
    def takers(self) -> list[np.ndarray]:
        """People who took each item, ascending."""
        order = np.argsort(self.people.values, kind="stable")
        counts = np.bincount(self.people.values, minlength=len(self.texts))
        rows = self.people.rows[order]
        return [np.unique(part) for part in np.split(rows, np.cumsum(counts)[:-1])]
