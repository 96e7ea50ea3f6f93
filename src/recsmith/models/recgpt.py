"""RecGPT-7B: a language model pre-trained on a recommendation corpus, then instructed to rate and to name what is next (2024)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from recsmith.data import Histories, TrainingReviews
from recsmith.errors import DataError
from recsmith.language.untrusted import plain_line
from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.candidates import followed_events
from recsmith.tuning_language.tasks import Case
from recsmith.tuning_language.tuner import TunerConfig
from recsmith.tuning_language.writing import WritingConfig, WritingModel

_MOST_RATINGS = 20


class RecgptConfig(WritingConfig):
    """Settings of `Recgpt`."""

    tasks: str = "recgpt"
    """Task set: a name that comes with the library, or the path of a .toml file; with templates named next and rating."""
    tuner: TunerConfig = TunerConfig()
    """What of it learns once it can read; the paper tunes everything."""
    pretrain_steps: int = Field(600, ge=0)
    """Own model: optimiser steps on the corpus: item texts, told histories and reviews; a folder's model is not pretrained."""
    rating_share: float = Field(0.5, ge=0, le=1)
    """Share of the examples that ask for a rating, where there are ratings; the others ask what is next."""


class Recgpt(WritingModel):
    """One model for two tasks in words: `rate` (the expected rating of an item) and lists (the next title, grounded in the catalogue).

    Paper: Ngo & Nguyen, "RecGPT: generative pre-training for text-based recommendation" (ACL 2024). RecGPT-7B is pre-trained on texts of
    items and of people's histories and reviews, RecGPT-7B-Instruct is tuned on prompts with rated histories.

    Deviations: a small model of one's own and one corpus (yours); a rating is the expectation over the possible ones, not what is written;
    written titles are grounded by distance, where the paper compares texts.
    """

    Config: ClassVar[type[RecgptConfig]] = RecgptConfig
    reads: ClassVar[tuple[str, ...]] = ("texts", "reviews")

    _reviews: Sequence[str] = ()
    _ratings: Sequence[float] = ()

    def read_reviews(self, reviews: TrainingReviews) -> None:
        """Reviews of training events: part of the corpus."""
        self._reviews = [plain_line(text, longest=2000) for text in reviews.texts if text.strip()]

    def observe(self, histories: Histories) -> None:
        """Which ratings there are; then as every model that writes."""
        weights = (
            np.zeros(0) if histories.weights is None else np.unique(histories.weights[np.isfinite(histories.weights)].astype(np.float64))
        )
        self._ratings = weights.tolist() if 2 <= len(weights) <= _MOST_RATINGS else []
        super().observe(histories)

    def notes(self, histories: Histories) -> dict[str, Any]:
        """The ratings, to be kept with the language model."""
        return {"ratings": list(self._ratings)}

    def extra_words(self) -> list[str]:
        """Reviews and ratings, besides titles."""
        return [*self._reviews, *[f" {rating:g}" for rating in self._ratings] * 10]

    def more_to_read(self) -> list[str]:
        """The reviews."""
        return list(self._reviews)

    def rate(self, batch: HistoryBatch, items: Sequence[int]) -> Tensor:
        """The rating that each row's person is expected to give to the item, float32 `[row]`; `DataError` without trained ratings."""
        ratings = self.network.facts["notes"]["ratings"]
        if not ratings:
            raise DataError(f"this model has learned no ratings: its data had none, or more than {_MOST_RATINGS} different ones")
        batch = batch.known()
        cases = [self._rated(batch, row, int(batch.offsets[row + 1]), int(item)) for row, item in enumerate(items)]
        return self.chances(cases, [f"{rating:g}" for rating in ratings]) @ torch.tensor(ratings, device=self.network.device)

    def draw(self, batch: HistoryBatch, random: np.random.Generator) -> Iterator[Case]:
        """Both kinds of questions, mixed by `rating_share` where there are ratings."""
        cases = list(super().draw(batch, random))
        share = self.config.rating_share if self.network.facts["notes"]["ratings"] and batch.weights is not None else 0.0
        rated = int(random.binomial(len(cases), share))
        yield from cases[rated:]
        for row, event in followed_events(batch, rated, random):
            assert batch.weights is not None
            if torch.isfinite(batch.weights[event]):
                yield self._rated(batch, row, event, int(batch.items[event]), rating=float(batch.weights[event]))

    def case(self, history: Sequence[int], item: int) -> Case:
        """What follows on the last items of a history."""
        return Case(item=item, history=history[-self.config.told_history :] if history else (), template="next")

    def figures(self) -> dict[str, Any]:
        """As of every model that writes, and the tasks that had data."""
        rated = bool(self.network.facts["notes"]["ratings"])
        return {**super().figures(), "tasks with data": ["next", "rating"] if rated else ["next"]}

    def _rated(self, batch: HistoryBatch, row: int, stop: int, item: int, *, rating: float | None = None) -> Case:
        start = max(int(batch.offsets[row]), stop - self.config.told_history)
        ratings = () if batch.weights is None else batch.weights[start:stop].tolist()
        words = {} if rating is None else {"rating": f"{rating:g}"}
        return Case(item=item, history=batch.items[start:stop].tolist(), ratings=ratings, words=words, template="rating")
