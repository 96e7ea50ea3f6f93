"""`TitleCodes`: the title of an item is its id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from recsmith.item_tokenizers.plain import PlainConfig
from recsmith.item_tokenizers.spelled import Row, SpelledTokenizer
from recsmith.tuning_language.pieces import Pieces


class TitleConfig(PlainConfig):
    """Settings of title indexing."""

    longest: int = Field(8, ge=2, le=64)
    """Pieces of an id; longer titles are cut."""
    pieces: int = Field(1000, ge=300)
    """Word pieces there are, at most; learned from the titles."""


class TitleCodes(SpelledTokenizer):
    """Title indexing (Hua et al., 2023): the pieces of an item's title, as the model reads and writes any word, are its id.

    Titles that are equal up to `longest` pieces are told apart by a number behind them. Deviations: pieces are learned from the catalogue's
    own titles instead of being those of T5; the paper leaves titles uncut. New items get the pieces of their titles.
    """

    Config: ClassVar[type[PlainConfig]] = TitleConfig

    _pieces: Pieces

    def _learn(self, items: int, *, seed: int) -> None:
        self._pieces = Pieces.learn(self._titles(items), size=self.config.pieces)

    def _words(self) -> tuple[str, ...]:
        return self._pieces.words

    def _written(self, items: int) -> list[Row]:
        return [self._pieces.codes(title) for title in self._titles(items)]

    def _number(self, number: int) -> Row:
        return self._pieces.codes(str(number))

    def _titles(self, items: int) -> list[str]:
        return self._item_texts(items, None, what="title ids")

    def _learned(self) -> dict[str, Any]:
        return {**super()._learned(), "pieces": self._pieces.stored}

    def _restore(self, learned: Mapping[str, Any]) -> None:
        super()._restore(learned)
        self._pieces = Pieces(learned["pieces"])
