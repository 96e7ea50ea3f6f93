"""`PortrayedModel`: a ranker of candidates that is told what a person likes in words; what InstructRec and PALR share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import nn

from recsmith.data import Histories
from recsmith.language.asker import Asker
from recsmith.language.completion import Backend
from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.candidates import CandidateConfig, CandidateModel, followed_events, row_of
from recsmith.tuning_language.keywords import Keywords
from recsmith.tuning_language.portraits import PortraitConfig, Portraits, tastes

Lesson = tuple[HistoryBatch, list[int], dict[str, str]]
"""A history (a batch of one row), the items that came next, and the words `taste` and `wish`."""


class PortrayedConfig(CandidateConfig):
    """What rankers that read words about people have in common."""

    keywords: int = Field(5, ge=1)
    """Distinctive words of the items of a history, or of an item, that stand for a taste, or a wish, where nobody wrote any."""
    portraits: PortraitConfig = PortraitConfig()
    """Who writes about people, and how much."""


class PortrayedModel(CandidateModel):
    """Tastes and wishes in words: written by a language model where one is named, else the distinctive words of the items."""

    def __init__(self, config: Any, *, items: int, retriever: nn.Module, backend: Backend | None = None) -> None:
        """`backend` takes the place of the one that the config names."""
        super().__init__(config, items=items, retriever=retriever)
        self.portraits = Portraits(config.told_history)
        self._backend = backend
        self._asker: Asker | None = None
        self._keywords: Keywords | None = None

    def read(self, texts: Sequence[str]) -> None:
        """The items' own words, one text per item; stored with the weights."""
        super().read(texts)
        self._keywords = None

    def observe(self, histories: Histories) -> None:
        """Have portraits written where there is somebody who writes; then as every ranker of candidates."""
        self._require_texts()
        asker = self._who_writes()
        if asker is not None and not self._loaded:
            seed = int(torch.randint(2**31, ()).item())
            self.portraits.write(histories, self.table.texts, asker, people=self.config.portraits.people, seed=seed)
        super().observe(histories)

    def extra_words(self) -> list[str]:
        """What was written, and what parts titles of a list."""
        return [" ;"] * 20 + self.portraits.tastes.texts + self.portraits.wishes.texts

    def lessons(self, batch: HistoryBatch, random: np.random.Generator) -> Iterator[Lesson]:
        """Random events that something precedes, or portraits; `examples` of the config for each history."""
        for row, event in followed_events(batch, max(1, round(self.config.examples * len(batch))), random):
            if len(self.portraits) and random.random() < self.config.portraits.share:
                case = self.portraits.draw(random)
                before = HistoryBatch(batch.items.new_tensor(case.history), batch.offsets.new_tensor([0, len(case.history)]))
                yield before, [case.item], case.words
                continue
            before = row_of(batch, row, before=event)
            following = list(dict.fromkeys(batch.items[event : int(batch.offsets[row + 1])].tolist()))
            wish = self.keywords.of(following[:1], most=self.config.keywords)
            yield before, following, {"taste": self._taste(before), "wish": wish}

    def tastes_of(self, histories: Sequence[HistoryBatch]) -> list[str]:
        """What each person likes, in words."""
        asker = self._who_writes()
        if asker is None:
            return [self._taste(history) for history in histories]
        texts = self.table.texts
        return tastes([[texts[item] for item in self.told(history)] for history in histories], asker)

    def told(self, history: HistoryBatch) -> list[int]:
        """The items of a history that a question tells."""
        return history.items[-self.config.told_history :].tolist()

    @property
    def keywords(self) -> Keywords:
        """Distinctive words of the items."""
        if self._keywords is None:
            self._keywords = Keywords(self.table.texts)
        return self._keywords

    def figures(self) -> dict[str, Any]:
        """As of every model of titles, and who wrote how many portraits at what cost."""
        wrote = {"backend": "none; distinctive words"} if self._asker is None else self._asker.figures()
        return {**super().figures(), "portraits": len(self.portraits), "written by": wrote}

    def _taste(self, history: HistoryBatch) -> str:
        return self.keywords.of(self.told(history), most=self.config.keywords)

    def _who_writes(self) -> Asker | None:
        if self._asker is None:
            self._asker = self.config.portraits.asker(self._backend)
        return self._asker

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        self._keywords = None
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
