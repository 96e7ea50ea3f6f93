"""The next place to go, by habit, by what is on one's mind, and by distance (Feng et al., 2024)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import asin, cos, radians, sin, sqrt
from typing import ClassVar

from pydantic import Field

from recsmith.config import Config
from recsmith.data.item_facts import Place
from recsmith.errors import UserError
from recsmith.language.asker import Asker
from recsmith.language.compiler import Value
from recsmith.language.rankers.case import GroundIn, RankCase, Ranked, Want, ground_equal, kept_where, unanswered
from recsmith.language.rankers.steps import ask_step, read_orders
from recsmith.language.shelf import Shelf
from recsmith.language.template import load_template

_EARTH_RADIUS = 6371.0


class NextPoiConfig(Config):
    """What the prompt tells."""

    recent: int = Field(5, ge=1)
    """Latest visits, which say what is on somebody's mind; the earlier ones are told as habits."""
    habits: int = Field(15, ge=1)
    """Places of earlier visits that are told, those visited most first."""
    max_tokens: int = Field(4000, ge=100)
    """Tokens of a prompt at most."""


class NextPoi:
    """Where to move next: zero-shot generalization of LLMs for next POI recommendation (Feng, Lyu, Li et al., 2024, arXiv:2404.01855).

    Each candidate is told with its distance from the last place that is known, its kind, and how many people go there; earlier visits are
    the long-term preference, the latest ones the current preference. `distance` is the great circle's, in kilometres.

    Deviations: wording of our own; popularity is ours; candidates come from the retriever in its order, not from around the last place
    alone; answers are numbers, without the paper's reasons.
    """

    Config: ClassVar[type[NextPoiConfig]] = NextPoiConfig
    wants: ClassVar[tuple[Want, ...]] = ("places", "people")

    def __init__(self, config: NextPoiConfig, *, ground: GroundIn = ground_equal, templates: str | None = None) -> None:
        self.config = config
        self._ground = ground
        self._template = load_template("next-poi", folder=templates)
        self._shelf: Shelf | None = None

    def look_at(self, shelf: Shelf) -> None:
        """Take the coordinates, kinds and visitors of all places."""
        self._shelf = shelf

    def rank(self, cases: Sequence[RankCase], asker: Asker) -> Ranked:
        """One prompt per case."""
        values = [self._values(case) for case in cases]
        answers = ask_step(self._template, values, asker, max_tokens=self.config.max_tokens)
        orders, reading = read_orders(answers, cases, self._ground)
        return kept_where(unanswered(answers), orders, reading.figures())

    def _values(self, case: RankCase) -> dict[str, Value]:
        shelf = self._require_shelf(case)
        places = shelf.facts.places
        here = next((places[item] for item in reversed(case.items) if places[item] is not None), None)
        cut = max(0, len(case.history) - self.config.recent)
        habits = Counter(case.items[:cut]).most_common(self.config.habits)
        return {
            "habits": [f"{self._named(shelf, item)}: {count} visits" for item, count in habits] or None,
            "recent": [f"{self._named(shelf, item)}{_away(here, places[item])}" for item in case.items[cut:]],
            "candidates": [
                f"{self._named(shelf, item)}{_away(here, places[item])}, {len(shelf.takers[item])} people" for item in case.candidate_items
            ],
        }

    def _named(self, shelf: Shelf, item: int) -> str:
        kinds = ", ".join(shelf.facts.categories[item])
        return f"{shelf.texts[item]} ({kinds})" if kinds else shelf.texts[item]

    def _require_shelf(self, case: RankCase) -> Shelf:
        if self._shelf is None or len(case.candidate_items) != len(case.candidates):
            raise UserError("the ranker `next-poi` looks coordinates up; call look_at(shelf) first and give cases with item numbers")
        return self._shelf


def distance(one: Place, other: Place) -> float:
    """Kilometres along the great circle."""
    (north, east), (north_too, east_too) = ((radians(degrees) for degrees in place) for place in (one, other))
    half = sin((north_too - north) / 2) ** 2 + cos(north) * cos(north_too) * sin((east_too - east) / 2) ** 2
    return 2 * _EARTH_RADIUS * asin(min(1.0, sqrt(half)))


def _away(here: Place | None, there: Place | None) -> str:
    if here is None or there is None:
        return ", distance unknown"
    return f", {distance(here, there):.1f} km away"
