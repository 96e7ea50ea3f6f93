"""`NumericCodes`: "item_57", a prefix and the digits of a number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from recsmith.data import ItemCodes
from recsmith.errors import UserError
from recsmith.item_tokenizers.plain import PlainConfig
from recsmith.item_tokenizers.spelled import END, Row, SpelledTokenizer

_DIGITS = "0123456789"


class NumericConfig(PlainConfig):
    """Settings of numeric indexing."""

    prefix: str = "item_"
    """What stands before every number, one token; empty for none."""
    digits: int = Field(0, ge=0, le=20)
    """Digits of a number, at most; 0: as many as the largest number has. More leave room for new items."""


class NumericCodes(SpelledTokenizer):
    """An item is called "item_57", as P5 (Geng et al., 2022) called it: the digits are the same tokens for all items, wherever they stand.

    The number is the raw id where that is a whole number, else the place of the item, from 1. Items whose numbers share digits share
    tokens that mean nothing (the indexing study of Hua et al., 2023, shows what that costs). Deviation: single digits, where P5's text
    tokenizer joins some of them. `independent` is the other reading of "[prefix]+[ID]", one further token per item.
    """

    Config: ClassVar[type[PlainConfig]] = NumericConfig

    _digits = 0
    _raw = False
    """Whether numbers are the raw ids."""

    @property
    def longest(self) -> int:
        """Pieces of an id, at most: prefix and digits."""
        return len(self._before) + self._digits

    @property
    def _before(self) -> Row:
        return (1 + len(_DIGITS),) if self.config.prefix else ()

    def _learn(self, items: int, *, seed: int) -> None:
        self._digits = 0
        self._raw = all(isinstance(one, int) and one >= 0 for one in self._items(items)[0])
        largest = max(self._numbers(items, first=1), default=0)
        self._digits = self.config.digits or len(str(largest))

    def _words(self) -> tuple[str, ...]:
        return ("", *_DIGITS, *([self.config.prefix] if self.config.prefix else []))

    def _written(self, items: int) -> list[Row]:
        return [(*self._before, *self._number(number)) for number in self._numbers(items, first=1)]

    def _place(self, items: int, taken: ItemCodes) -> ItemCodes:
        rows = [[code - 1 for code in row if END < code <= len(_DIGITS)] for row in taken.table[:, :-1].tolist()]
        used = [int("".join(map(str, row))) for row in rows]
        numbers = self._numbers(items, first=max(used, default=0) + 1)
        if set(numbers) & set(used):
            raise UserError(f"item_{min(set(numbers) & set(used))} is taken; give items that the run does not have")
        return self._placed([(*self._before, *self._number(number)) for number in numbers], taken)

    def _number(self, number: int) -> Row:
        return tuple(int(digit) + 1 for digit in str(number))

    def _numbers(self, items: int, *, first: int) -> list[int]:
        """Raw ids, or numbers from `first` on. Raises `UserError` for one below 0 or with more digits than there are."""
        raw = self._items(items)[0].to_list()
        numbers = raw if self._raw else list(range(first, first + items))
        if min(numbers, default=0) < 0:
            raise UserError(f"item {min(numbers)} is below 0 and its digits spell another; give ids of 0 or more, or fit again")
        room = self.config.digits or self._digits
        if room and len(str(max(numbers, default=0))) > room:
            raise UserError(f"number {max(numbers)} has more than {room} digits; set `tokenizer.digits` higher and fit again")
        return numbers

    def _learned(self) -> dict[str, Any]:
        return {**super()._learned(), "digits": self._digits, "raw": self._raw}

    def _restore(self, learned: Mapping[str, Any]) -> None:
        super()._restore(learned)
        self._digits, self._raw = int(learned["digits"]), bool(learned["raw"])
