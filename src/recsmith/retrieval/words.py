"""`words_of`: what BM25 counts. Words between spaces and punctuation, and pairs of characters where a script writes no spaces."""

from __future__ import annotations

import re
from unicodedata import normalize

_HAN = "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_KANA = "\u3041-\u3096\u3099\u309a\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f\U0001b000-\U0001b16f"
_HANGUL = "\u1100-\u11ff\u3131-\u318e\ua960-\ua97f\uac00-\ud7a3\ud7b0-\ud7fb\uffa1-\uffdc"
_THAI = "\u0e01-\u0e3a\u0e40-\u0e4e"
_PAIRED = _HAN + _KANA + _HANGUL + _THAI
_ANY_PAIRED = re.compile(f"[{_PAIRED}]")
_WORD = re.compile(r"\w+")
_RUN = re.compile(rf"(?P<paired>[{_PAIRED}]+)|[^\W{_PAIRED}]+")


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, in its order.

    A run of Chinese, Japanese, Korean or Thai characters gives its overlapping pairs (千と千尋 → 千と, と千, 千尋), or itself where it is
    one character; half-width and decomposed forms count as the usual ones. A query of one such character therefore finds it only where it
    stands alone. All other scripts give what stands between spaces and punctuation.
    """
    folded = text.casefold()
    if _ANY_PAIRED.search(folded) is None:
        return _WORD.findall(folded)
    words: list[str] = []
    for found in _RUN.finditer(folded):
        words += [found[0]] if found["paired"] is None else _pairs(normalize("NFKC", found[0]))
    return words


def _pairs(run: str) -> list[str]:
    return [run[start : start + 2] for start in range(max(1, len(run) - 1))]
