"""Titles as language models write them: changed, shortened, misspelt and made up, with the truth beside them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from recsmith.seeding import generator

INVENTED = -1
"""Source of a title that names no item of the catalogue."""

_YEAR = re.compile(r"\s*\((\d{4})\)\s*$")


@dataclass(frozen=True)
class GeneratedTitles:
    """What a language model might have written about a catalogue."""

    catalogue: list[str]
    """Titles of the items."""
    queries: list[str]
    """Titles as written."""
    sources: list[int]
    """Item that each was made from, or `INVENTED`."""
    changes: list[str]
    """What was done to each."""


def generated_titles(titles: Sequence[str], count: int, *, seed: int, invented: float = 0.25, held_out: float = 0.3) -> GeneratedTitles:
    """`count` titles of which the share `invented` names nothing: half of it real titles that were taken out of the catalogue (a share
    of `held_out` is), half put together from pieces of two titles. The others are titles of the catalogue with one change, a third of
    them with two."""
    random = generator(seed, "generated titles")
    order = random.permutation(len(titles))
    cut = int(len(titles) * held_out)
    outside, catalogue = [titles[place] for place in order[:cut]], [titles[place] for place in np.sort(order[cut:])]
    known = {_bare(title) for title in catalogue}
    outside = [title for title in outside if _bare(title) not in known]
    rows = []
    for _ in range(count):
        if random.random() < invented:
            rows.append(_invention(catalogue, outside, known, random))
        else:
            rows.append(_changed(catalogue, random))
    return GeneratedTitles(catalogue, [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])


def _changed(catalogue: list[str], random: np.random.Generator) -> tuple[str, int, str]:
    item = int(random.integers(len(catalogue)))
    text, done = catalogue[item], []
    for _ in range(1 + int(random.random() < 1 / 3)):
        name = str(random.choice(list(CHANGES)))
        text = CHANGES[name](text, random)
        done.append(name)
    return text, item, " + ".join(done)


def _invention(catalogue: list[str], outside: list[str], known: set[str], random: np.random.Generator) -> tuple[str, int, str]:
    if random.random() < 0.5:
        title = outside[int(random.integers(len(outside)))]
        return (_no_year(title, random) if random.random() < 0.5 else title), INVENTED, "held out"
    while True:
        one, other = (catalogue[int(place)] for place in random.integers(len(catalogue), size=2))
        first, second = _YEAR.sub("", one).split(), _YEAR.sub("", other).split()
        text = " ".join([*first[: (len(first) + 1) // 2], *second[len(second) // 2 :]])
        if _bare(text) not in known:
            year = f" ({random.integers(1950, 2016)})" if random.random() < 0.5 else ""
            return text + year, INVENTED, "put together"


def _bare(title: str) -> str:
    return re.sub(r"\W+", "", _YEAR.sub("", title).casefold())


def _edit(text: str, random: np.random.Generator) -> str:
    """One letter of the title without its year swapped with the next, left out, doubled or replaced; one more in long titles."""
    year = _YEAR.search(text)
    letters = list(_YEAR.sub("", text))
    for _ in range(1 + int(len(letters) > 20 and random.random() < 0.3)):
        places = [place for place, letter in enumerate(letters) if letter.isalpha()]
        if len(places) < 5:
            break
        place, kind = int(random.choice(places)), int(random.integers(4))
        if kind == 0 and place + 1 < len(letters):
            letters[place], letters[place + 1] = letters[place + 1], letters[place]
        elif kind == 1:
            del letters[place]
        elif kind == 2:
            letters.insert(place, letters[place])
        else:
            letters[place] = "abcdefghijklmnoprstuvwy"[int(random.integers(23))]
    return "".join(letters) + (year.group() if year else "")


def _no_year(text: str, random: np.random.Generator) -> str:
    return _YEAR.sub("", text)


def _other_year(text: str, random: np.random.Generator) -> str:
    return _YEAR.sub(lambda match: f" ({int(match.group(1)) + int(random.choice([-1, 1]))})", text)


def _no_subtitle(text: str, random: np.random.Generator) -> str:
    year = _YEAR.search(text)
    first = re.split(r":\s| - ", _YEAR.sub("", text))[0]
    return first + (year.group() if year else "")


def _moved_article(text: str, random: np.random.Generator) -> str:
    return re.sub(r"^(.+?), (The|A|An|La|Le|Les|El|Der|Die|Das)(?= \(|$)", r"\2 \1", text)


def _no_accents(text: str, random: np.random.Generator) -> str:
    return "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))


def _numerals(text: str, random: np.random.Generator) -> str:
    pairs = {"II": "2", "III": "3", "IV": "4", "VI": "6", "2": "II", "3": "III", "4": "IV"}
    return re.sub(r"\b(II|III|IV|VI|2|3|4)\b", lambda match: pairs[match.group()], text)


CHANGES: dict[str, Callable[[str, np.random.Generator], str]] = {
    "typing error": _edit,
    "no year": _no_year,
    "other year": _other_year,
    "no subtitle": _no_subtitle,
    "moved article": _moved_article,
    "no accents": _no_accents,
    "small letters": lambda text, random: text.lower(),
    "capitals": lambda text, random: text.upper(),
    "no punctuation": lambda text, random: re.sub(r"[:,'!?.-]", "", text),
    "and": lambda text, random: text.replace("&", "and") if "&" in text else text.replace(" and ", " & "),
    "numerals": _numerals,
    "remark": lambda text, random: f"{text} - a film that fits",
    "brackets": lambda text, random: re.sub(r"\s*\((?!\d{4}\))[^)]*\)", "", text),
}
"""What may happen to a title."""
