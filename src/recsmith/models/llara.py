"""LLaRA: titles with a sequential recommender's vector behind each, met little by little (Liao et al., SIGIR 2024)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from recsmith.data import Histories
from recsmith.models.collaborator import OverRecommender, collaborator
from recsmith.models.retriever import closed_form_retriever
from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.candidates import CandidateConfig, followed_events, row_of
from recsmith.tuning_language.collaborative import CollaborativeConfig, MarkedWording, Projector
from recsmith.tuning_language.shared_prompts import Prompt, Vectors, first_slot, require_sharing, way_likelihoods
from recsmith.tuning_language.tasks import Case
from recsmith.tuning_language.wording import Wording

_AT_ONCE = 16


class LlaraConfig(CandidateConfig):
    """Settings of `Llara`."""

    tasks: str = "llara"
    """Task set: a name that comes with the library, or the path of a .toml file."""
    collaborative: CollaborativeConfig = CollaborativeConfig()
    """The sequential recommender whose item vectors are read."""
    curriculum_steps: int = Field(200, ge=0)
    """Optimiser steps over which the share of training prompts that hold vectors rises from none to all."""
    hidden: int = Field(128, ge=1)
    """Width of the layer between a recommender's vector and what the language model reads."""
    candidates: int = Field(10, ge=2)
    """Items that a prompt names and that are judged; those behind keep the retriever's order."""


class HybridWording(MarkedWording):
    """Titles of lists with the item's own token behind each."""

    def listed(self, items: Sequence[int]) -> list[int]:
        """With semicolons between."""
        between = self.words(";")
        return [token for place, item in enumerate(items) for token in ([*between] if place else []) + self.title(item) + self.item(item)]


class Llara(OverRecommender):
    """Orders candidates by how likely their titles go on a prompt in which each title of the history and of the candidates has a vector.

    Paper: "LLaRA: large language-recommendation assistant" (SIGIR 2024). The curriculum draws prompts in words alone first, and ones with
    vectors with a probability that grows with the step. `share` is where it stands.

    Deviations: candidates by a retriever, where the paper draws them at random; they are ordered by the mean log-likelihood of their
    titles, where the paper generates one; until half of the curriculum is over, answers are given in words; a small model of one's own
    unless a folder is named.
    """

    Config: ClassVar[type[LlaraConfig]] = LlaraConfig
    called: ClassVar[str] = "LLaRA"

    share: Tensor

    def __init__(self, config: LlaraConfig, *, items: int) -> None:
        super().__init__(config, items=items, retriever=closed_form_retriever(config.retriever, config.retriever_settings, items=items))
        require_sharing(config.network, config.tuner, who=self.called)
        self.collaborative = collaborator(config.collaborative, items=items)
        self.project = Projector(self.collaborative.dim, hidden=config.hidden, width=config.network.dim)
        self.register_buffer("share", torch.tensor(0.0))
        self._marking = False

    def observe(self, histories: Histories) -> None:
        """As `OverRecommender`; the projector takes the width of a folder's language model."""
        super().observe(histories)
        if self.config.network.folder is not None and not self._loaded:
            self.project.make(self.network.model.get_input_embeddings().embedding_dim)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean negative log-likelihood per token of the titles that came next; 0 when there are none to ask about."""
        if not self._goes_on:
            self.share.fill_(min(1.0, step / max(1, self.config.curriculum_steps)))
        random = np.random.default_rng(int(torch.randint(2**62, ()).item()))
        prompts = [
            self.prompt(case, [case.item], hybrid=bool(random.random() < float(self.share))) for case in self.draw(batch.known(), random)
        ]
        if not prompts:
            return next(one for one in self.parameters() if one.requires_grad).sum() * 0.0
        return -way_likelihoods(self.network, prompts, self.vectors()).mean()

    def judge(self, histories: Sequence[HistoryBatch], candidates: Sequence[list[int]]) -> list[Tensor]:
        """Mean log-likelihood of each candidate's title."""
        hybrid = float(self.share) >= 0.5
        cases = [self.case(row, -1, chosen) for row, chosen in zip(histories, candidates, strict=True)]
        prompts = [self.prompt(case, case.candidates, hybrid=hybrid) for case in cases]
        with torch.no_grad():
            parts = [
                way_likelihoods(self.network, prompts[start : start + _AT_ONCE], self.vectors())
                for start in range(0, len(prompts), _AT_ONCE)
            ]
        return list(torch.cat(parts).split([len(chosen) for chosen in candidates]))

    def prompt(self, case: Case, answers: Sequence[int], *, hybrid: bool) -> Prompt:
        """The question, in words or with vectors, and titles as ways to go on."""
        self._marking = hybrid
        told = self.wording.tokens(self.template.input, case)
        return Prompt(told, [[*self.wording.title(item), self.network.end] for item in answers])

    def vectors(self) -> Vectors:
        """What is read at the items' slots."""
        table = self.collaborative.items().float()
        return lambda slots: self.project(table[slots])

    def draw(self, batch: HistoryBatch, random: np.random.Generator) -> Iterator[Case]:
        """Which of the candidates came next, for random events that something precedes."""
        for row, event in followed_events(batch, max(1, round(self.config.examples * len(batch))), random):
            before, target = row_of(batch, row, before=event), int(batch.items[event])
            yield self.case(before, target, self.presented(before, [target], random))

    def case(self, history: HistoryBatch, item: int, candidates: Sequence[int]) -> Case:
        """The last items of a history and the candidates."""
        return Case(item=item, history=history.items[-self.config.told_history :].tolist(), candidates=candidates)

    def figures(self) -> dict[str, Any]:
        """As of every model of titles, and how far the curriculum went."""
        return {**super().figures(), "vectors of": self.config.collaborative.name, "share of prompts with vectors": float(self.share)}

    @property
    def wording(self) -> Wording:
        """Task texts in which titles of lists have a slot behind them while a prompt with vectors is written."""
        self._require_texts()
        if self._spoken is None:
            self._spoken = HybridWording(
                self.network, self.table.texts, max_title=self.config.max_title, mark=self._mark, person=lambda row: []
            )
        return self._spoken

    def _mark(self, item: int) -> list[int]:
        return [first_slot(self.network) + item] if self._marking else []
