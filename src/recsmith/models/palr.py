"""PALR: a language model writes the list, out of retrieved titles and given key words of the person (Yang et al., 2023)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field
from torch import Tensor

from recsmith.language.completion import Backend
from recsmith.models.retriever import closed_form_retriever
from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.portrayed import PortrayedConfig, PortrayedModel
from recsmith.tuning_language.tasks import Case
from recsmith.tuning_language.title_list import listed_scores


class PalrConfig(PortrayedConfig):
    """Settings of `Palr`."""

    tasks: str = "palr"
    """Task set: a name that comes with the library, or the path of a .toml file; its templates have the places taste and following."""
    length: int = Field(5, ge=1)
    """Titles of the list that is written."""


class Palr(PortrayedModel):
    """Retrieve candidates, tell key words, history and candidates, and have the list written title by title.

    Paper: "PALR: personalization aware LLMs for recommendation" (2023). In training the model writes the titles that came next, with the
    candidates before its eyes in one template and without in another, as the paper mixes both. In answering it can write nothing but
    titles of the candidates, each once; candidates that it does not write follow in the retriever's order.

    Deviations: key words are distinctive words of the titles unless `portraits.backend` names a language model that writes them (which
    is then asked about every person in answering, and about `portraits.people` for training); a retriever that learns in closed form;
    greedy writing.
    """

    Config: ClassVar[type[PalrConfig]] = PalrConfig

    def __init__(self, config: PalrConfig, *, items: int, backend: Backend | None = None) -> None:
        retriever = closed_form_retriever(config.retriever, config.retriever_settings, items=items)
        super().__init__(config, items=items, retriever=retriever, backend=backend)

    def judge(self, histories: Sequence[HistoryBatch], candidates: Sequence[list[int]]) -> list[Tensor]:
        """1 for the first title written, less for those behind it."""
        told = zip(histories, candidates, self.tastes_of(histories), strict=True)
        cases = [Case(history=self.told(history), candidates=chosen, words={"taste": taste}) for history, chosen, taste in told]
        return listed_scores(self, cases, length=self.config.length)

    def draw(self, batch: HistoryBatch, random: np.random.Generator) -> Iterator[Case]:
        """The titles that came next, by a template drawn by lot."""
        for before, following, words in self.lessons(batch, random):
            template = self.task_set.template[int(random.integers(len(self.task_set.template)))]
            following = following[: self.config.length]
            chosen = self.presented(before, following, random) if "options" in template.fields else []
            listed = [item for item in following if item in chosen] if chosen else following
            yield Case(history=self.told(before), candidates=chosen, following=listed, words=words, template=template.name)
