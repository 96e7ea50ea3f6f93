"""How texts become words here, and the checks that every text measure needs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from recsmith.errors import DataError

_WORD = re.compile(r"\w+")
_PLAIN_WORD = re.compile(r"[a-z0-9]+")


def words_of(text: str) -> list[str]:
    """Lower case, runs of letters and digits of any script."""
    return _WORD.findall(text.lower())


def plain_words_of(text: str) -> list[str]:
    """Lower case, runs of a-z and 0-9: the tokens of ROUGE as everybody computes it; words of other scripts vanish."""
    return _PLAIN_WORD.findall(text.lower())


def check_pairs(candidates: Sequence[str], references: Sequence[str]) -> None:
    """Raise `DataError` unless there is one reference per candidate, and at least one."""
    if len(candidates) != len(references) or not candidates:
        raise DataError(f"{len(candidates)} texts for {len(references)} references; give one reference per text, and at least one text")
