"""How texts become words here, and the checks that every text measure needs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from recsmith.errors import DataError

_NOT_A_WORD = re.compile(r"[^a-z0-9]+")


def words_of(text: str) -> list[str]:
    """Lower case, runs of a-z and 0-9: the tokens of ROUGE as it is usually computed. Other scripts vanish; bring your own words there."""
    return [word for word in _NOT_A_WORD.split(text.lower()) if word]


def check_pairs(candidates: Sequence[str], references: Sequence[str]) -> None:
    """Raise `DataError` unless there is one reference per candidate, and at least one."""
    if len(candidates) != len(references) or not candidates:
        raise DataError(f"{len(candidates)} texts for {len(references)} references; give one reference per text, and at least one text")
