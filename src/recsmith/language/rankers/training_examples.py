"""`TrainingExamples`: last steps of people in training as solved cases, the most similar ones for each case."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsmith.language.demonstrations import Demonstrations
from recsmith.language.rankers.case import RankCase
from recsmith.language.shelf import Shelf
from recsmith.language.untrusted import plain_line
from recsmith.seeding import generator

_TOLD = 5
"""Events that an example tells before the one that came next; of a case, as many are compared with them."""
_ARROW = 6
"""Characters for what stands between the two, and for marks of cutting."""


class TrainingExamples:
    """What people took at the end of training, and what came next. Nobody is shown an example of their own."""

    def __init__(self, shelf: Shelf, *, pool: int, longest: int, seed: int) -> None:
        """Of at most `pool` people, drawn with `seed`, who took at least two items; an example has at most `longest` characters."""
        people = shelf.people
        rows = np.flatnonzero(people.lengths > 1)
        self._owners = np.sort(generator(seed, "demonstrations").permutation(rows)[:pool]).tolist()
        steps = [[shelf.texts[item] for item in people.row(row)[-_TOLD - 1 :].tolist()] for row in self._owners]
        pairs = [fitting(step[:-1], step[-1], longest=longest) for step in steps]
        self._examples = Demonstrations([given for given, _ in pairs], [answer for _, answer in pairs], shelf.encode)
        self._place = {row: place for place, row in enumerate(self._owners)}

    def choose(self, cases: Sequence[RankCase], count: int) -> list[list[str]]:
        """At most `count` examples per case, `given → answer`, the most similar last."""
        queries = [recent(case.history) for case in cases]
        chosen = self._examples.choose(queries, count, without=[self._place.get(case.person, -1) for case in cases])
        return [self._examples.texts(row.tolist()) for row in chosen]


def recent(history: Sequence[str]) -> str:
    """The end of a history, as examples are compared by it."""
    return ", ".join(history[-_TOLD:])


def fitting(given: Sequence[str], answer: str, *, longest: int) -> tuple[str, str]:
    """Both sides of an example, in `longest` characters together: what is too long loses its oldest events, never its answer."""
    right = plain_line(answer, longest=longest // 2)
    room = longest - len(right) - _ARROW
    kept = list(given)
    while len(kept) > 1 and len(", ".join(kept)) > room:
        del kept[0]
    return plain_line(", ".join(kept), longest=room), right
