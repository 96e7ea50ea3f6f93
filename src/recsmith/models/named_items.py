"""Items that a language model names in its own words, before it is shown any candidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from recsmith.decoding.grounding import Grounding
from recsmith.language.asker import Asker
from recsmith.language.five_tasks import name_next


@dataclass
class NamedItems:
    """Names items for people, and keeps account of what the names were worth."""

    count: int
    """Titles that are asked for."""
    _figures: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    _found: int = 0
    _excluded: int = 0

    def find(
        self, told: Sequence[Sequence[str]], taken: Sequence[set[int]], requests: Sequence[str], asker: Asker, grounding: Grounding
    ) -> list[list[int]]:
        """Items of the catalogue named for each history in words, best first, outside of `taken`."""
        named = name_next(told, asker, grounding, count=self.count, requests=requests)
        found = [[item for item in row if item >= 0] for row in named.lists.items.tolist()]
        kept = [[item for item in row if item not in without] for row, without in zip(found, taken, strict=True)]
        self._figures.append((named.figures["entries"], named.figures))
        self._found += sum(map(len, found))
        self._excluded += sum(map(len, found)) - sum(map(len, kept))
        return kept

    def figures(self) -> dict[str, Any]:
        """Rates of all names so far: of the titles written those of `Grounding`, and `excluded`: items that the person had already."""
        lists = sum(figures["lists"] for _, figures in self._figures)
        entries = sum(count for count, _ in self._figures)
        unread = sum(figures["lists"] * figures["format error"] for _, figures in self._figures)
        names = [name for name in (self._figures[0][1] if self._figures else {}) if name not in ("lists", "entries", "format error")]
        rates = {name: sum(count * figures[name] for count, figures in self._figures) / max(1, entries) for name in names}
        more = {"titles": entries, "format error": unread / max(1, lists), "excluded": self._excluded / max(1, self._found)}
        return {f"named: {name}": value for name, value in {**more, **rates}.items()}
