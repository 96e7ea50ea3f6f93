"""`ExactMatcher`: titles that are equal in their normal form, told apart by year and popularity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsmith.decoding.grounding import Matches
from recsmith.decoding.grounding_titles import Title, read_title, years_agree


class ExactMatcher:
    """Equal titles after normalisation: case, accents, punctuation, "Matrix, The", "&", II for 2, aliases in brackets.

    A year given on both sides must agree up to one; an alias that only the given title has counts with the very year alone. Of several
    items with one title the one of the very year wins, then the more popular (where popularity is handed in), then the smaller index.
    """

    name = "exact"

    def __init__(self, titles: Sequence[str | None], *, popularity: np.ndarray | None = None) -> None:
        self._titles = [read_title(title or "") for title in titles]
        self._popularity = np.zeros(len(titles)) if popularity is None else np.asarray(popularity, dtype=np.float64)
        self._items: dict[str, list[int]] = {}
        self._aliases: dict[str, list[int]] = {}
        for item, title in enumerate(self._titles):
            if title.key:
                self._items.setdefault(title.key, []).append(item)
            for alias in title.aliases:
                self._aliases.setdefault(alias, []).append(item)

    def match(self, titles: Sequence[str], *, allowed: np.ndarray | None = None) -> Matches:
        """Items with the same normal form; score 1, or .9 for an alias."""
        matches = Matches.none(len(titles))
        for place, text in enumerate(titles):
            matches.items[place], matches.scores[place] = self._one(read_title(text), allowed)
        return matches

    def _one(self, title: Title, allowed: np.ndarray | None) -> tuple[int, float]:
        item = self._best(self._items.get(title.key, ()), title, allowed)
        if item >= 0:
            return item, 1.0
        item = self._best(self._aliases.get(title.key, ()), title, allowed)
        if item < 0 and title.year is not None:
            of_the_year = [item for alias in title.aliases for item in self._items.get(alias, ()) if self._titles[item].year == title.year]
            item = self._best(of_the_year, title, allowed)
        return item, 0.9 if item >= 0 else 0.0

    def _best(self, items: Sequence[int], title: Title, allowed: np.ndarray | None) -> int:
        fitting = [item for item in items if years_agree(title.year, self._titles[item].year) and (allowed is None or bool(allowed[item]))]
        return min(fitting, key=lambda item: (self._titles[item].year != title.year, -self._popularity[item], item), default=-1)
