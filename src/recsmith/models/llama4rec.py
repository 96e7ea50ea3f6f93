"""Llama4Rec: a conventional and a language model that augment each other, their answers mixed by how much is known (Luo et al., 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from recsmith.data import Histories
from recsmith.models.retriever import closed_form_retriever
from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.hybrid import HybridConfig, HybridModel


class Llama4recConfig(HybridConfig):
    """Settings of `Llama4rec`."""

    least: float = Field(0.2, ge=0, le=1)
    """Share of the language model in the order of people with the longest histories."""
    most: float = Field(0.8, ge=0, le=1)
    """Share of the language model in the order of people with the shortest histories."""
    augment_at: int = Field(200, ge=1)
    """Optimiser step before which the conventional model learns again, with events that the language model adds."""
    augmented: float = Field(0.2, ge=0, le=1)
    """Share of people, those of the shortest histories, who are given an event."""


class Llama4rec(HybridModel):
    """Prompts name what the conventional model puts first; it learns again with what the tuned language model prefers; both rank together.

    Paper: "Integrating large language models into recommendation via mutual augmentation and adaptive aggregation" (2024). Data
    augmentation: of two candidates of a person with few events, the one that the language model prefers becomes an event of the
    conventional model. Prompt augmentation: its first items stand in every prompt. Adaptive aggregation: the shorter the history, the more
    the language model counts (linear in its logarithm, between those of the shortest and the longest training rows).

    Deviations: the conventional model is the retriever, which learns in closed form and once again at `augment_at`; prompts tell no
    neighbours; the questions are those of RecRanker, whose authors this paper shares, without its sampling of people.
    """

    Config: ClassVar[type[Llama4recConfig]] = Llama4recConfig

    bounds: Tensor
    """Logarithms of the shortest and the longest training history, float32 `[2]`."""
    added: Tensor
    """Events that the language model gave to the conventional one; -1 before it did."""

    def __init__(self, config: Llama4recConfig, *, items: int) -> None:
        super().__init__(config, items=items, retriever=closed_form_retriever(config.retriever, config.retriever_settings, items=items))
        self.register_buffer("bounds", torch.zeros(2))
        self.register_buffer("added", torch.tensor(-1))
        self._histories: Histories | None = None

    def observe(self, histories: Histories) -> None:
        """How long histories are; then as every ranker of candidates."""
        lengths = histories.lengths[histories.lengths > 0]
        if len(lengths):
            self.bounds.copy_(torch.tensor([float(np.log(lengths.min())), float(np.log(lengths.max()))]))
        self._histories = histories
        self.added.fill_(-1)
        super().observe(histories)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """As every model of titles; from step `augment_at` on with the conventional model that has learned again."""
        if step >= self.config.augment_at and int(self.added) < 0 and self._histories is not None:
            self.augment(self._histories)
        return super().loss(batch, step)

    def judge(self, histories: Sequence[HistoryBatch], candidates: Sequence[list[int]]) -> list[Tensor]:
        """What the language model says and the place by the conventional one, both from 0 to 1, mixed by the length of the history."""
        mixed = []
        for history, said in zip(histories, super().judge(histories, candidates), strict=True):
            place = 1 - torch.arange(len(said), device=said.device) / len(said)
            share = self.share(len(history.items))
            mixed.append(share * said + (1 - share) * place)
        return mixed

    def share(self, events: int) -> float:
        """How much the language model counts for a person with so many events."""
        low, high = self.bounds.tolist()
        place = min(1.0, max(0.0, (float(np.log(max(1, events))) - low) / max(high - low, 1e-9)))
        return float(self.config.most + (self.config.least - self.config.most) * place)

    @torch.no_grad()
    def augment(self, histories: Histories) -> None:
        """Give people of short histories what the language model prefers of the first two candidates, and solve the conventional model."""
        training = self.training
        self.eval()
        rows = np.flatnonzero(histories.lengths > 0)
        rows = rows[np.argsort(histories.lengths[rows], kind="stable")][: int(self.config.augmented * len(rows))]
        asked, pairs, people = [], [], []
        for row in rows.tolist():
            items = torch.from_numpy(histories.row(row)).to(self.network.device)
            history = HistoryBatch(items, torch.tensor([0, len(items)], device=items.device))
            found = self.proposed(history)[:2]
            if len(found) == 2:
                asked.append(history)
                pairs.append(found)
                people.append(row)
        chosen = [pair[int(said.argmax())] for pair, said in zip(pairs, self.pairs(asked, pairs), strict=True)] if pairs else []
        more = dict(zip(people, chosen, strict=True))
        values = [[*histories.row(row).tolist(), *([more[row]] if row in more else [])] for row in range(len(histories))]
        self.retriever.solve(Histories.from_rows(values))  # type: ignore[operator]
        self.retriever.to(self.network.device)
        self.added.fill_(len(more))
        self.train(training)

    def figures(self) -> dict[str, Any]:
        """As of every model of titles, and how many events were given to the conventional model."""
        return {**super().figures(), "events added": max(0, int(self.added))}
