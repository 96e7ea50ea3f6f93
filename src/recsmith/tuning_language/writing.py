"""`WritingModel`: a tuned language model writes the next title in its own words; what BIGRec, CALRec and RecGPT-7B share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from recsmith.data import Histories
from recsmith.decoding.grounding_distance import distance_scores
from recsmith.nn.item_vectors import KeptTable
from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.candidates import AT_ONCE, TitleConfig, TitleModel
from recsmith.tuning_language.tally import Tally
from recsmith.tuning_language.tasks import Case


class WritingConfig(TitleConfig):
    """What models that write titles have in common."""

    popularity: float = Field(0.1, ge=0)
    """How much popularity in training pulls a written title towards an item; 0 = not at all."""


class WritingModel(TitleModel):
    """Scores items by how near their titles are to what the model writes; whatever it writes, only items of the catalogue are answered."""

    events: Tensor
    _known_titles: tuple[object, frozenset[str]] | None = None

    def __init__(self, config: Any, *, items: int) -> None:
        super().__init__(config, items=items)
        self.register_buffer("events", torch.zeros(items, dtype=torch.int64))
        self._vectors = KeptTable(self, self._item_vectors)
        self._tally = Tally()

    def observe(self, histories: Histories) -> None:
        """Count what is popular; then as every model of titles."""
        known = histories.values[histories.values >= 0]
        self.events.copy_(torch.from_numpy(np.bincount(known, minlength=self.items)))
        super().observe(histories)

    def written(self, batch: HistoryBatch) -> list[str]:
        """The title that the model writes for each row."""
        return [self.network.text(row) for row in self._write(batch.known())]

    def score(self, batch: HistoryBatch) -> Tensor:
        """Negative distances `[batch, item]`, scaled to -1 … 0 in each row."""
        if not len(batch):
            return torch.zeros(0, self.items, device=self.events.device)
        rows = self._write(batch.known())
        self._count([[self.network.text(row)] for row in rows])
        with torch.no_grad():
            found = self.network.embed([row or [self.network.end] for row in rows])
        scores = distance_scores(
            found.cpu().numpy(), self._vectors().cpu().numpy(), popularity=self.events.cpu().numpy(), strength=self.config.popularity
        )
        return scores.to(self.events.device)

    def figures(self) -> dict[str, Any]:
        """As of every model of titles, and what was wrong with the titles written since it last learned, before grounding (see `Tally`)."""
        return {**super().figures(), **self._tally.figures()}

    def train(self, mode: bool = True) -> Self:
        """As any module; what is written before more is learned does not count for the figures."""
        if mode:
            self._tally = Tally()
        return super().train(mode)

    def questions(self, batch: HistoryBatch) -> list[list[int]]:
        """Tokens of what each row of a batch is asked."""
        return self.asked([self.case(batch.items[start:stop].tolist(), -1) for start, stop in pairwise(batch.offsets.tolist())])

    def draw(self, batch: HistoryBatch, random: np.random.Generator) -> Iterator[Case]:
        """The titles of random events, the first of a history among them."""
        offsets = batch.offsets.cpu().numpy()
        rows = np.repeat(np.arange(len(batch)), np.diff(offsets))
        if not len(rows):
            return
        for event in random.integers(0, len(rows), max(1, round(self.config.examples * len(batch)))).tolist():
            yield self.case(batch.items[int(offsets[rows[event]]) : event].tolist(), int(batch.items[event]))

    def case(self, history: Sequence[int], item: int) -> Case:
        """What follows on the last items of a history: `item`."""
        return Case(item=item, history=history[-self.config.told_history :] if history else ())

    def _count(self, lists: Sequence[Sequence[str]]) -> None:
        """Count the texts that were written, one list per person; a title is what the model could write of it, cut at its longest."""
        if self._known_titles is None or self._known_titles[0] is not self.wording:
            titles = frozenset(self.network.text(self.wording.title(item)) for item in range(self.items))
            self._known_titles = (self.wording, titles)
        self._tally.count(lists, self._known_titles[1])

    def _write(self, batch: HistoryBatch) -> list[list[int]]:
        questions = self.questions(batch)
        return [
            row
            for start in range(0, len(questions), AT_ONCE)
            for row in self.network.write(questions[start : start + AT_ONCE], longest=self.config.max_title)
        ]

    @torch.no_grad()
    def _item_vectors(self) -> Tensor:
        titles = [self.wording.title(item) for item in range(self.items)]
        return torch.cat([self.network.embed(titles[start : start + AT_ONCE]) for start in range(0, self.items, AT_ONCE)])
