"""Events for cold items: which of two new items would somebody rather take? (Wang et al., 2024)"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from recsmith.config import Config
from recsmith.data import Dataset, SplitConfig
from recsmith.errors import DataError
from recsmith.language.asker import Asker
from recsmith.language.compiler import compile_prompt
from recsmith.language.parsing import FormatError, parse_choice
from recsmith.language.template import load_template
from recsmith.language.writers.provenance import item_texts, people_histories, provenance_of, training_histories, with_events
from recsmith.seeding import generator

_LETTERS = ("A", "B")


class ColdPairsConfig(Config):
    """How many questions are asked about whom."""

    pairs: int = Field(1, ge=1)
    """Pairs of cold items per person."""
    max_history: int = Field(20, ge=1)
    """Events of a person that are told, the most recent ones."""
    seed: int = 0
    """Seed of the pairs."""


class ColdPairs:
    """Large language models as data augmenters for cold-start item recommendation (Wang, Li, Yang et al., WWW companion 2024).

    For each person pairs of items without training events are drawn, and the one that the model prefers becomes an event of the type
    `written:cold-pairs`. Answers that cannot be read write nothing.

    Deviations: wording of our own; the preferred item enters as an event, where the paper adds a pair-wise loss on both.
    """

    Config: ClassVar[type[ColdPairsConfig]] = ColdPairsConfig

    def __init__(self, config: ColdPairsConfig) -> None:
        self.config = config

    def write(self, dataset: Dataset, asker: Asker, *, split: SplitConfig) -> Dataset:
        """The data set with the new events. Raises `DataError` when fewer than two items are cold."""
        template, texts = load_template("rank-pair"), item_texts(dataset)
        cold = self._cold(dataset, texts, split)
        asked = [
            (user, pair, {"history": history[-self.config.max_history :], "first": texts[pair[0]], "second": texts[pair[1]]})
            for number, (user, history) in enumerate(people_histories(dataset, split, texts).items())
            for pair in self._pairs(cold, number)
        ]
        prompts = [compile_prompt(template, values, count=asker.count_tokens, choices=_LETTERS).prompt for _, _, values in asked]
        events = []
        for (user, pair, _), answer in zip(asked, asker.ask(prompts), strict=True):
            chosen = _chosen(answer)
            if chosen is not None:
                events.append((user, pair[chosen]))
        distinct = list(dict.fromkeys(events))
        return with_events(dataset, distinct, provenance_of("cold-pairs", asker, [template], split=split, written=len(distinct)))

    def _cold(self, dataset: Dataset, texts: dict[Any, str], split: SplitConfig) -> list[Any]:
        warm = {item for items in training_histories(dataset, split).values() for item in items}
        cold = [item for item in texts if item not in warm]
        if len(cold) < 2:
            raise DataError(f"`{dataset.name}` has {len(cold)} items without training events; this writer compares two of them")
        return cold

    def _pairs(self, cold: list[Any], number: int) -> list[tuple[Any, Any]]:
        random = generator(self.config.seed, "cold pairs", number)
        drawn = [random.choice(len(cold), size=2, replace=False) for _ in range(self.config.pairs)]
        return [(cold[int(one)], cold[int(other)]) for one, other in drawn]


def _chosen(answer: str | None) -> int | None:
    try:
        return None if answer is None else parse_choice(answer, _LETTERS)
    except FormatError:
        return None
