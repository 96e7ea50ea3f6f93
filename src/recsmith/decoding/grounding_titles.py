"""Titles as people and language models write them, brought to one form: case, accents, articles, numerals, years, aliases."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

_YEAR = re.compile(r"\((1[89]\d\d|20\d\d)(?:\s*[-–—/]\s*(?:\d{2,4})?)?\)")
_YEAR_BEHIND_COMMA = re.compile(r",\s*(1[89]\d\d|20\d\d)\s*$")
_BRACKETS = re.compile(r"[(\[]([^()\[\]]*)[)\]]")
_ARTICLES = r"the|an?|la|le|les|l|el|los|las|il|der|die|das|den|det|lo|gli|une?"
_TRAILING_ARTICLE = re.compile(rf"^(.+?),\s*({_ARTICLES})('?)$")
_LEADING_ARTICLE = re.compile(r"^(?:the|an?) (?=.)")
_ALIAS_WORDS = re.compile(r"^(?:a\.?k\.?a\.?|or)\s+")
_SUBTITLE = re.compile(r"\s*(?::|\s[-–—]\s)\s*")
_NUMERALS = {"ii": "2", "iii": "3", "iv": "4", "vi": "6", "vii": "7", "viii": "8", "ix": "9", "xi": "11", "xii": "12", "xiii": "13"}
_LETTERS = str.maketrans({"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ł": "l", "&": " and ", "+": " and "})
_SILENT = re.compile(r"['’‘`´]")
_WORDS = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Title:
    """A title in its normal form."""

    key: str
    """Words in small letters without accents, punctuation, leading article, year and brackets; "" where nothing is left."""
    year: int | None
    """Year in brackets, or behind a comma at the end."""
    aliases: tuple[str, ...]
    """Keys of what stands in other brackets, such as original titles."""
    main: str
    """Key of what comes before a subtitle; equal to `key` where there is none."""
    numbers: frozenset[str]
    """Numbers in the key: titles that differ in them are different works."""


def read_title(text: str) -> Title:
    """The normal form of a title."""
    text = _YEAR_BEHIND_COMMA.sub(r" (\1)", text)
    years = _YEAR.findall(text)
    bare = _YEAR.sub(" ", text)
    aliases = tuple(key for alias in _BRACKETS.findall(bare) if (key := _key(_ALIAS_WORDS.sub("", alias.strip().casefold()))))
    outside = _BRACKETS.sub(" ", bare)
    outside = outside if _key(outside) else bare
    key = _key(outside)
    main = _key(_SUBTITLE.split(outside.strip(), maxsplit=1)[0])
    return Title(key, int(years[-1]) if years else None, aliases, main or key, frozenset(word for word in key.split() if word.isdigit()))


_REMARKS = (
    re.compile(r"(?<=\d{4}\)).+$"),
    re.compile(r"\s+[-–—]\s+.*$"),
    re.compile(r"\s*[:;.]\s+\S+(?:\s+\S+){3,}$"),
    re.compile(r"\s+\bby\b\s+.*$"),
)
"""What may follow a title: anything behind the year, behind a dash, four words or more behind a stop, and its maker."""


def variants(text: str) -> list[str]:
    """Other readings of an entry of a list, the likeliest first: without what may follow a title."""
    year = "".join(match.group() for match in list(_YEAR.finditer(text))[-1:])
    found = []
    for pattern in _REMARKS:
        shorter = pattern.sub("", text).strip()
        found.append(shorter if not shorter or year in shorter else f"{shorter} {year}")
    return [shorter for shorter in dict.fromkeys(found) if shorter and shorter != text.strip()]


def years_agree(one: int | None, other: int | None) -> bool:
    """Whether two years may be of one work: unknown, equal, or next to each other (release and festival)."""
    return one is None or other is None or abs(one - other) <= 1


def _key(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.casefold().translate(_LETTERS))
    plain = _SILENT.sub("", "".join(sign for sign in plain if not unicodedata.combining(sign))).strip(" .,:;-–—")
    moved = _TRAILING_ARTICLE.match(plain)
    if moved:
        plain = f"{moved.group(2)} {moved.group(1)}"
    words = [_NUMERALS.get(word, word) for word in _WORDS.findall(plain)]
    return _LEADING_ARTICLE.sub("", " ".join(words))
