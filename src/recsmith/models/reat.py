"""ReAT: a language model learns what recommenders know from auxiliary tasks in words (Cao et al., 2024)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.tasks import Case, Family
from recsmith.tuning_language.text_to_items import TextToItems, TextToItemsConfig


class ReatConfig(TextToItemsConfig):
    """Settings of `Reat`."""

    tasks: str = "reat"
    """Task set: a name that comes with the library, or the path of a .toml file."""
    mix: dict[Family, float] = {"sequential": 1.0, "masked": 1.0, "pairwise": 1.0, "alignment": 0.5}
    """Examples of each task family per history of a batch."""
    user_tokens: int = 0
    """Tokens for people; the paper has none."""
    around: int = Field(5, ge=1)
    """masked: items before and after the gap that are told, at most."""


class Reat(TextToItems):
    """Next items, and three ways to put what recommenders know into questions: masked items, pairs as in BPR, and items by their words.

    Paper: "Aligning large language models with recommendation knowledge" (NAACL findings 2024). Masked item modelling asks for the item in
    a gap, with items on both sides told; the pairwise task tells a history and two items, of which one came next, and asks for that one;
    both let item correlations into the model beside the task that answers.

    Deviations: items are codes of the recipe's tokenizer and their words an alignment task (paper: title and id together); a small model of
    one's own unless `network.folder` names another; the negative of a pair is any item that the person has not taken.
    """

    Config: ClassVar[type[ReatConfig]] = ReatConfig
    reads: ClassVar[tuple[str, ...]] = ("texts",)

    def _about_events(self, family: Family, batch: HistoryBatch, count: int, random: np.random.Generator) -> Iterator[Case]:
        for case, row in self._of_rows(family, batch, count, random):
            yield from self._asked_otherwise(family, case, row, random)

    def _of_rows(self, family: Family, batch: HistoryBatch, count: int, random: np.random.Generator) -> Iterator[tuple[Case, list[int]]]:
        """Cases about random events, each with the events around it."""
        if family not in ("masked", "pairwise"):
            yield from ((case, []) for case in super()._about_events(family, batch, count, random))
            return
        items, offsets = batch.items.tolist(), batch.offsets.cpu().numpy()
        for event in random.integers(0, len(items), count).tolist() if items else ():
            row = int(np.searchsorted(offsets, event, side="right")) - 1
            start, stop = int(offsets[row]), int(offsets[row + 1])
            before = items[max(start, event - self.config.max_history) : event]
            after = items[event + 1 : min(stop, event + 1 + self.config.around)]
            history = [*before[-self.config.around :], -1, *after] if family == "masked" else before
            yield Case(item=items[event], history=history), items[start:stop]

    def _asked_otherwise(self, family: Family, case: Case, row: list[int], random: np.random.Generator) -> Iterator[Case]:
        """The case as the family asks it; none where there is nothing to tell."""
        if family == "masked" and len(case.history) > 1:
            yield case
        elif family == "pairwise" and case.history:
            taken = set(row)
            others = [item for item in random.integers(0, len(self.item_codes), 20).tolist() if item not in taken]
            if others:
                pair: Any = random.permutation([case.item, others[0]]).tolist()
                yield Case(item=case.item, history=case.history, candidates=pair)
        elif family not in ("masked", "pairwise"):
            yield case
