"""CoLLM: a language model that reads people and items of a fitted recommender as if they were words (Zhang et al., 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from recsmith.data import Histories
from recsmith.models.collaborator import OverRecommender, collaborator
from recsmith.models.retriever import closed_form_retriever
from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.collaborative import CollaborativeConfig, Projector, slot_vectors, slot_wording
from recsmith.tuning_language.shared_prompts import Vectors, require_sharing
from recsmith.tuning_language.tasks import Case
from recsmith.tuning_language.wording import Wording
from recsmith.tuning_language.yes_no_model import YesNoConfig, YesNoModel


class CollmConfig(YesNoConfig):
    """Settings of `Collm`."""

    tasks: str = "collm"
    """Task set: a name that comes with the library, or the path of a .toml file; with templates named words and collaborative."""
    collaborative: CollaborativeConfig = CollaborativeConfig()
    """The recommender whose vectors are read."""
    language_steps: int = Field(200, ge=0)
    """Optimiser steps that tune the language model on words alone; those behind them train the mapping alone."""
    hidden: int = Field(128, ge=1)
    """Width of the layer between a recommender's vector and what the language model reads."""


class Collm(OverRecommender, YesNoModel):
    """Asks TALLRec's question with two more words in it: the recommender's vectors of the person and of the item, each through a mapping.

    Paper: "CoLLM: integrating collaborative embeddings into large language models for recommendation" (Zhang et al., 2023). Tuned in two
    steps: low-rank updates on the question in words, then the mapping alone on the question with vectors, everything else frozen.

    Deviations: those of `Tallrec`; both steps are parts of one training (`language_steps`), and until the second begins, answers are given
    in words; the recommender stays as it was fitted (the paper also tunes it); a small model of one's own unless a folder is named.
    """

    Config: ClassVar[type[CollmConfig]] = CollmConfig
    called: ClassVar[str] = "CoLLM"

    mapped: Tensor

    def __init__(self, config: CollmConfig, *, items: int) -> None:
        super().__init__(config, items=items, retriever=closed_form_retriever(config.retriever, config.retriever_settings, items=items))
        require_sharing(config.network, config.tuner, who=self.called)
        for name in ("words", "collaborative"):
            self.task_set.named(name)
        self.collaborative = collaborator(config.collaborative, items=items)
        self.project = Projector(self.collaborative.dim, hidden=config.hidden, width=config.network.dim)
        self.register_buffer("mapped", torch.tensor(False))

    def observe(self, histories: Histories) -> None:
        """As `OverRecommender`; the projector takes the width of a folder's language model."""
        super().observe(histories)
        if self.config.network.folder is not None and not self._loaded:
            self.project.make(self.network.model.get_input_embeddings().embedding_dim)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Of step one or two, by how many steps were taken (a loaded model is past one); only its weights get gradients."""
        second = self._goes_on or step >= self.config.language_steps
        self.mapped.fill_(second)
        tuned = [one for one in self.network.parameters() if one.requires_grad]
        for one in tuned:
            one.requires_grad_(not second)
        loss = super().loss(batch, step)
        for one in tuned:
            one.requires_grad_(True)
        return loss

    def vectors(self, histories: Sequence[HistoryBatch]) -> Vectors | None:
        """Of the second step."""
        return slot_vectors(self.collaborative, histories, self.project) if self.mapped else None

    def numbered(self, cases: Sequence[Case], row: int) -> list[Case]:
        """By the template of the step, with the number of the history where the person's slot stands."""
        return [replace(case, user=row, template="collaborative" if self.mapped else "words") for case in cases]

    def figures(self) -> dict[str, Any]:
        """As of every model of titles, and which recommender lends its vectors."""
        return {**super().figures(), "vectors of": self.config.collaborative.name, "reads vectors": bool(self.mapped)}

    @property
    def wording(self) -> Wording:
        """With slots for people and items."""
        self._require_texts()
        if self._spoken is None:
            self._spoken = slot_wording(self.network, self.table.texts, max_title=self.config.max_title)
        return self._spoken
