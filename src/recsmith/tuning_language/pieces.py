"""`Pieces`: texts as codes of word pieces, with 0 for the end: what ids in words are made of."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

from recsmith.errors import import_extra
from recsmith.language.untrusted import plain_line
from recsmith.tuning_language.words import END, learn_words

_FIRST = 1
"""Token of the end mark in a vocabulary made by `learn_words`; the padding before it is left out."""


_BEGINS = ("Ġ", "▁")
"""How tokenizers mark a token that begins a word."""


class Pieces:
    """A vocabulary of word pieces, code 0 being the end and the others pieces of words."""

    def __init__(self, stored: str) -> None:
        """`stored`: a tokenizer as JSON, made by `learn`."""
        self.stored = stored

    @classmethod
    def learn(cls, texts: Iterable[str], *, size: int) -> Pieces:
        """At most `size` pieces (never fewer than the 256 bytes), learned from `texts`."""
        return cls(learn_words(map(plain_line, texts), size=size).to_str())

    def codes(self, text: str) -> tuple[int, ...]:
        """The pieces of a text on one line; at least one."""
        tokens = self._tokenizer.encode(plain_line(text), add_special_tokens=False).ids
        return tuple(token - _FIRST for token in tokens) or self.codes("none")

    def text(self, codes: Iterable[int]) -> str:
        """What codes spell, ends left out."""
        return str(self._tokenizer.decode([code + _FIRST for code in codes], skip_special_tokens=True)).strip()

    @cached_property
    def words(self) -> tuple[str, ...]:
        """What each code spells, with a space before what begins a word; parts of a letter as the tokenizer writes them."""
        assert self._tokenizer.token_to_id(END) == _FIRST
        return ("", *(spelling(self._tokenizer, token) for token in range(_FIRST + 1, self._tokenizer.get_vocab_size())))

    @cached_property
    def _tokenizer(self) -> Any:
        return import_extra("tokenizers", extra="text", purpose="ids in words").Tokenizer.from_str(self.stored)


def spelling(tokenizer: Any, token: int) -> str:
    """What a token of a `tokenizers.Tokenizer` spells, with a space before what begins a word."""
    text, raw = str(tokenizer.decode([token], skip_special_tokens=False)), str(tokenizer.id_to_token(token))
    if "\ufffd" in text:
        return raw
    return f" {text}" if raw[:1] in _BEGINS and not text.startswith(" ") else text
