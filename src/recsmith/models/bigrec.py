"""BIGRec: a language model writes the next title in its own words, which are then grounded in the catalogue (Bao et al., 2023)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from recsmith.data import Histories
from recsmith.decoding.grounding_distance import distance_scores
from recsmith.nn.item_vectors import KeptTable
from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.candidates import TitleConfig, TitleModel
from recsmith.tuning_language.tasks import Case

_AT_ONCE = 256


class BigrecConfig(TitleConfig):
    """Settings of `Bigrec`."""

    tasks: str = "bigrec"
    """Task set: a name that comes with the library, or the path of a .toml file."""
    popularity: float = Field(0.1, ge=0)
    """How much popularity in training pulls a written title towards an item; 0 = not at all."""


class Bigrec(TitleModel):
    """Scores items by how near their titles are to what the model writes; whatever it writes, only items of the catalogue are answered.

    Paper: "A bi-step grounding paradigm for large language models in recommendation systems" (2023): step one tunes the model to write
    titles, step two divides distances of embeddings by popularity. `written` gives the titles as they were written.

    Deviations: embeddings are means over the tokens' last hidden states; titles are written greedily, where the paper searches with beams.
    """

    Config: ClassVar[type[BigrecConfig]] = BigrecConfig

    events: Tensor

    def __init__(self, config: BigrecConfig, *, items: int) -> None:
        super().__init__(config, items=items)
        self.register_buffer("events", torch.zeros(items, dtype=torch.int64))
        self._vectors = KeptTable(self, self._item_vectors)
        self._written = self._exact = 0

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
        titles = {tuple(self.wording.title(item)) for item in range(self.items)}
        self._written += len(rows)
        self._exact += sum(tuple(row) in titles for row in rows)
        with torch.no_grad():
            found = self.network.embed([row or [self.network.end] for row in rows])
        scores = distance_scores(
            found.cpu().numpy(), self._vectors().cpu().numpy(), popularity=self.events.cpu().numpy(), strength=self.config.popularity
        )
        return scores.to(self.events.device)

    def figures(self) -> dict[str, Any]:
        """As of every model of titles, and the share of written titles that were a title of the catalogue before grounding."""
        exact = self._exact / max(1, self._written)
        return {**super().figures(), "titles written": self._written, "exact before grounding": exact, "invalid after grounding": 0.0}

    def _write(self, batch: HistoryBatch) -> list[list[int]]:
        offsets = batch.offsets.tolist()
        cases = [self._case(batch.items[start:stop].tolist(), -1) for start, stop in pairwise(offsets)]
        questions = [self.wording.tokens(self.template.input, case) for case in cases]
        return [
            row
            for start in range(0, len(questions), _AT_ONCE)
            for row in self.network.write(questions[start : start + _AT_ONCE], longest=self.config.max_title)
        ]

    def draw(self, batch: HistoryBatch, random: np.random.Generator) -> Iterator[Case]:
        """The titles of random events, the first of a history among them."""
        offsets = batch.offsets.cpu().numpy()
        rows = np.repeat(np.arange(len(batch)), np.diff(offsets))
        if not len(rows):
            return
        for event in random.integers(0, len(rows), max(1, round(self.config.examples * len(batch)))).tolist():
            yield self._case(batch.items[int(offsets[rows[event]]) : event].tolist(), int(batch.items[event]))

    def _case(self, history: Sequence[int], item: int) -> Case:
        return Case(item=item, history=history[-self.config.told_history :] if history else ())

    @torch.no_grad()
    def _item_vectors(self) -> Tensor:
        titles = [self.wording.title(item) for item in range(self.items)]
        return torch.cat([self.network.embed(titles[start : start + _AT_ONCE]) for start in range(0, self.items, _AT_ONCE)])
