"""Which items go with somebody's history, by how often the same people took both: pools of candidates for a language model."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any


class Companions:
    """Cosines between items over the people who took them; counted in training histories alone."""

    def __init__(self, histories: Mapping[Any, Sequence[Any]]) -> None:
        self._people: Counter[Any] = Counter()
        self._pairs: dict[Any, Counter[Any]] = defaultdict(Counter)
        for items in histories.values():
            distinct = list(dict.fromkeys(items))
            self._people.update(distinct)
            for item in distinct:
                self._pairs[item].update(distinct)

    def affinities(self, history: Sequence[Any]) -> dict[Any, float]:
        """Item outside the history → sum of its cosines with the items of the history; only items that share somebody with one."""
        sums: dict[Any, float] = defaultdict(float)
        own = dict.fromkeys(history)
        for item in own:
            for other, people in self._pairs[item].items():
                if other not in own:
                    sums[other] += people / (self._people[item] * self._people[other]) ** 0.5
        return dict(sums)

    def pool(self, history: Sequence[Any], size: int) -> list[Any]:
        """The `size` items outside the history that go with it best; equal ones in the order of first sight."""
        sums = self.affinities(history)
        return sorted(sums, key=lambda item: -sums[item])[:size]
