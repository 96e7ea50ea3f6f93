"""`SequentialCodes`: items numbered in the order in which people met them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from recsmith.data import ItemCodes
from recsmith.errors import UserError
from recsmith.item_tokenizers.plain import ObservingTokenizer, PlainConfig, number_digits


class SequentialConfig(PlainConfig):
    """Settings of sequential indexing."""

    levels: int = Field(3, ge=1, le=16)
    """Digits of a number; the collision level comes on top."""
    room: float = Field(1.25, ge=1)
    """Numbers there are, as a multiple of the items; the rest is for new items."""


class SequentialCodes(ObservingTokenizer):
    """Sequential indexing (Hua et al., 2023): person by person, each training event on an item not met before gives it the next number.

    So items met one after the other share their leading digits. Items without training events follow at the end. Only training
    events are looked at; numbering held-out events too would leak them. Deviations: digits in a base just large enough for `levels`
    digits instead of the pieces of a text tokenizer. New items get the numbers that follow.
    """

    Config: ClassVar[type[PlainConfig]] = SequentialConfig

    _next = 0

    def _index(self, items: int, *, seed: int) -> tuple[np.ndarray, Sequence[int]]:
        values = self._observed(items).values
        met = values[values >= 0]
        first = np.full(items, len(met), dtype=np.int64)
        np.minimum.at(first, met, np.arange(len(met)))
        numbers = np.empty(items, dtype=np.int64)
        numbers[np.argsort(first, kind="stable")] = np.arange(items)
        self._next = items
        base = max(2, int(np.ceil((items * self.config.room) ** (1 / self.config.levels))))
        return number_digits(numbers, base=base, digits=self.config.levels), [base] * self.config.levels

    def _place(self, items: int, taken: ItemCodes) -> ItemCodes:
        base, levels = taken.sizes[0], self.config.levels
        powers = base ** np.arange(levels - 1, -1, -1, dtype=np.int64)
        follow = max(self._next, int((taken.table[:, :-1] @ powers).max(initial=-1)) + 1)
        if follow + items > base**levels:
            raise UserError(f"{items} new items do not fit: {base**levels - follow} numbers of {base**levels} are left; fit again")
        digits = number_digits(np.arange(follow, follow + items), base=base, digits=levels)
        return ItemCodes(np.column_stack([digits, np.zeros(items, dtype=np.int64)]), taken.sizes)

    def _learned(self) -> dict[str, Any]:
        return {"next": self._next}

    def _restore(self, learned: Mapping[str, Any]) -> None:
        self._next = int(learned["next"])
