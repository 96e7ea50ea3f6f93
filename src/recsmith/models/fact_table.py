"""`FactTable`: what a catalogue says of the items, saved and loaded with a model's weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from recsmith.data.item_facts import ItemFacts
from recsmith.errors import DataError
from recsmith.nn.text_table import TextTable


class FactTable(TextTable):
    """`ItemFacts` as one text per item."""

    def __init__(self, facts: ItemFacts | None = None) -> None:
        pairs = [] if facts is None else zip(facts.categories, facts.places, strict=True)
        super().__init__([json.dumps([list(categories), place], ensure_ascii=False) for categories, place in pairs])

    @cached_property
    def facts(self) -> ItemFacts:
        """The facts, in the order of the items."""
        pairs = [json.loads(text) for text in self.texts]
        places = [None if place is None else (float(place[0]), float(place[1])) for _, place in pairs]
        return ItemFacts([categories for categories, _ in pairs], places)

    def require(self, wants: Sequence[str], *, ranker: str) -> None:
        """Raise `DataError` where no item has what is wanted."""
        facts = self.facts if len(self) else ItemFacts((), ())
        if "places" in wants and not any(facts.places):
            raise DataError(
                f"`{ranker}` asks how far items are, but the catalogue has no coordinates; give it the columns `latitude` and `longitude`, "
                "in degrees"
            )
        if "categories" in wants and not any(facts.categories):
            raise DataError(
                f"`{ranker}` speaks of kinds of items, but the catalogue names none; give it a column of categories, such as `genres`"
            )

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.__dict__.pop("facts", None)
        super()._load_from_state_dict(*args, **kwargs)
