"""Memory retrieval: what is remembered of a person is searched for what bears on the request, and only that stands in the prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
from pydantic import Field

from recsmith.config import Config
from recsmith.errors import UserError
from recsmith.language.asker import Asker
from recsmith.language.memory import DialogueMemory, Memory, MemoryConfig, learn
from recsmith.language.rankers.case import GroundIn, RankCase, Ranked, Want, ground_equal
from recsmith.language.rankers.list_wise import ListWise, ListWiseConfig
from recsmith.language.rankers.temporal import ago
from recsmith.language.shelf import Shelf

_DAY = 86_400.0
_EVENT_IMPORTANCE = 0.2


class FromMemoryConfig(Config):
    """What is remembered, and how much of it is told."""

    memory: MemoryConfig = MemoryConfig(half_life=30 * _DAY)
    """How memories are weighed against each other."""
    recalled: int = Field(8, ge=1)
    """Memories that a prompt tells."""
    latest: int = Field(3, ge=0)
    """Latest events that it tells besides, whatever they are."""
    kinds: int = Field(5, ge=0)
    """Facts about what kinds of items the person takes most, remembered at most; 0, or a catalogue without categories: events alone."""
    template: str = "rank-from-memory"
    """Prompt template, with the fields of `list-wise`; `knowledge` are the memories."""
    max_tokens: int = Field(4000, ge=100)
    """Tokens of a prompt at most."""


class FromMemory:
    """Memory retrieval for recommending in a dialogue (Deldjoo et al., "A review of modern recommender systems using generative models",
    2024, §3.3): a store of facts about a person, of which those come back that bear on the request.

    A person's events and the kinds that they take most are memories, weighed by `recsmith.language.memory` (recency, relevance, importance
    of Park et al., 2023) against what the person says, or else against the candidates' texts; the model orders the candidates, told the
    memories and the latest events. A mechanism that the surveys describe, not one published system.

    Deviations: the store is made of the log at each question, and nothing is written back (`DialogueMemory.answer` does that); a fact is
    as important as its share of the history; where the log has no times, each event counts as a day after the one before.
    """

    Config: ClassVar[type[FromMemoryConfig]] = FromMemoryConfig
    wants: ClassVar[tuple[Want, ...]] = ()

    def __init__(self, config: FromMemoryConfig, *, ground: GroundIn = ground_equal, templates: str | None = None) -> None:
        self.config = config
        inner = ListWiseConfig(template=config.template, max_tokens=config.max_tokens)
        self._inner = ListWise(inner, ground=ground, templates=templates)
        self._shelf: Shelf | None = None
        self._vectors: dict[str, np.ndarray] = {}
        self._asked: dict[str, np.ndarray] = {}

    def look_at(self, shelf: Shelf) -> None:
        """Take the shelf's encoder, and the kinds of items."""
        self._shelf, self._vectors, self._asked = shelf, {}, {}

    def rank(self, cases: Sequence[RankCase], asker: Asker) -> Ranked:
        """The list-wise order by memories and latest events."""
        stores = [self.memories(case) for case in cases]
        requests = [case.request.strip() or "; ".join(case.candidates) for case in cases]
        self._learn(requests, [memory.text for store in stores for memory in store])
        told, recalled, old = [], 0, 0
        for case, store, request in zip(cases, stores, requests, strict=True):
            memory = DialogueMemory(self.config.memory, self._encode, store, encode_queries=self._encode_queries)
            now = max((one.time for one in store), default=0.0)
            found = memory.recall(request, self.config.recalled, now=now) if store else []
            lines = [f"{one.text} ({ago(now - one.time)})" if case.times else one.text for one in found]
            latest = list(case.history[len(case.history) - self.config.latest :]) if self.config.latest else []
            told.append(replace(case, history=latest, knowledge=lines))
            recalled += len(found)
            old += sum(one.text not in latest for one in found)
        ranked = self._inner.rank(told, asker)
        figures = {"memories recalled": recalled / max(1, len(cases)), "not the latest": old / max(1, recalled)}
        return Ranked(ranked.orders, {**ranked.figures, **figures}, ranked.notes)

    def memories(self, case: RankCase) -> list[Memory]:
        """What is remembered of the person of a case: each event by its text, and the kinds that they take most."""
        times = list(case.times) or [_DAY * place for place in range(len(case.history))]
        events = [Memory(text, time, importance=_EVENT_IMPORTANCE) for text, time in zip(case.history, times, strict=True) if text.strip()]
        return [*self._facts(case.items, times), *events]

    def _facts(self, items: Sequence[int], times: Sequence[float]) -> list[Memory]:
        if self._shelf is None:
            raise UserError("the ranker `memory` compares texts and has no encoder; call look_at(shelf) first")
        categories = self._shelf.facts.categories
        counts: Counter[str] = Counter()
        last: dict[str, float] = {}
        for item, time in zip(items, times):
            for kind in categories[item]:
                counts[kind] += 1
                last[kind] = max(time, last.get(kind, time))
        best = counts.most_common(self.config.kinds)
        return [Memory(f"takes {kind}: {_share(count, len(items))}", last[kind], importance=count / len(items)) for kind, count in best]

    def _learn(self, requests: Sequence[str], memories: Sequence[str]) -> None:
        assert self._shelf is not None
        learn(requests, self._asked, self._shelf.encode_queries or self._shelf.encode)
        learn(memories, self._vectors, self._shelf.encode)

    def _encode(self, texts: list[str]) -> np.ndarray:
        return np.stack([self._vectors[text] for text in texts])

    def _encode_queries(self, texts: list[str]) -> np.ndarray:
        return np.stack([self._asked[text] for text in texts])


def _share(count: int, of: int) -> str:
    """A share in tenths, so that few texts are to be encoded."""
    tenths = round(10 * count / of)
    return "nearly always" if tenths >= 9 else "now and then" if tenths <= 1 else f"{tenths} times in 10"
