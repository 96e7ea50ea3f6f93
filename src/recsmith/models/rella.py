"""ReLLa: a language model tuned to say yes or no, told the events that resemble the item in question (Lin et al., WWW 2024)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from recsmith.data import Histories
from recsmith.language.history_retrieval import nearest_events
from recsmith.models.retriever import closed_form_retriever
from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.candidates import CandidateConfig, CandidateModel, followed_events
from recsmith.tuning_language.tasks import Case

_ANSWERS = ("Yes", "No")
_AT_ONCE = 256


class RellaConfig(CandidateConfig):
    """Settings of `Rella`."""

    tasks: str = "rella"
    """Task set: a name that comes with the library, or the path of a .toml file."""
    retrieved: float = Field(0.5, ge=0, le=1)
    """Share of the training questions that tell retrieved events; the others tell the latest ones."""
    components: int = Field(64, ge=1)
    """Principal components of the language model's hidden states by which events resemble an item, at most."""


class Rella(CandidateModel):
    """The probability of "Yes" orders the candidates, each asked about with the `told_history` events most similar to it.

    Paper: "ReLLa: retrieval-enhanced large language models for lifelong sequential behavior comprehension in recommendation" (Lin, Shan,
    Zhu et al., WWW 2024). Semantic user behaviour retrieval: items are vectors by the hidden states that the language model has of their
    titles before it is tuned, after a principal component analysis; the nearest events stand in the prompt in order of time. Retrieval-
    enhanced tuning: questions with latest and with retrieved events are mixed, so that the model meets both.

    Deviations: an event or an item at random is asked about, where the paper has ratings; candidates by a retriever, where the paper
    predicts click-through alone.
    """

    Config: ClassVar[type[RellaConfig]] = RellaConfig

    vectors: Tensor

    def __init__(self, config: RellaConfig, *, items: int) -> None:
        super().__init__(config, items=items, retriever=closed_form_retriever(config.retriever, config.retriever_settings, items=items))
        self.register_buffer("vectors", torch.zeros(items, 0))

    def observe(self, histories: Histories) -> None:
        """As every model of titles; then keep what the language model makes of each title. A loaded one keeps its vectors."""
        super().observe(histories)
        if not self._loaded:
            self.vectors = self._item_vectors()

    def extra_words(self) -> list[str]:
        """The two answers."""
        return [f" {answer}" for answer in _ANSWERS] * 10

    def judge(self, histories: Sequence[HistoryBatch], candidates: Sequence[list[int]]) -> list[Tensor]:
        """Probability of yes for each candidate."""
        cases = [
            self._case(row.items.tolist(), item, retrieve=True)
            for row, chosen in zip(histories, candidates, strict=True)
            for item in chosen
        ]
        choices = [self.network.tokens(answer) for answer in _ANSWERS]
        questions = [self.wording.tokens(self.template.input, case) for case in cases]
        with torch.no_grad():
            parts = [self.network.choose(questions[start : start + _AT_ONCE], choices)[:, 0] for start in range(0, len(cases), _AT_ONCE)]
        return list(torch.cat(parts).split([len(chosen) for chosen in candidates]))

    def draw(self, batch: HistoryBatch, random: np.random.Generator) -> Iterator[Case]:
        """Yes about random events that something precedes, no about random items that the person never took."""
        offsets = batch.offsets.tolist()
        for row, event in followed_events(batch, max(1, round(self.config.examples * len(batch))), random):
            taken = batch.items[offsets[row] : offsets[row + 1]].tolist()
            others = [item for item in random.integers(0, self.items, 20).tolist() if item not in set(taken)]
            yes = bool(random.random() < 0.5) or not others
            item = int(batch.items[event]) if yes else others[0]
            retrieve = bool(random.random() < self.config.retrieved)
            yield self._case(taken[: event - offsets[row]], item, retrieve=retrieve, answer=_ANSWERS[0 if yes else 1])

    def similar_events(self, history: Sequence[int], item: int) -> list[int]:
        """The items of the `told_history` events that resemble the item most, in order of time."""
        rows, target = self.vectors[list(history)].cpu().numpy(), self.vectors[[item]].cpu().numpy()
        return [history[place] for place in nearest_events(rows, target, self.config.told_history)]

    def _case(self, history: Sequence[int], item: int, *, retrieve: bool, answer: str = "") -> Case:
        told = self.similar_events(history, item) if retrieve else history[-self.config.told_history :]
        return Case(item=item, history=told, words={"answer": answer})

    @torch.no_grad()
    def _item_vectors(self) -> Tensor:
        """Principal components of the mean hidden states of each title, float32 `[item, component]`."""
        was_training = self.training
        self.eval()
        titles = [self.wording.title(item) or [self.network.end] for item in range(self.items)]
        states = torch.cat([self.network.embed(titles[start : start + _AT_ONCE]) for start in range(0, self.items, _AT_ONCE)])
        self.train(was_training)
        centred = states - states.mean(dim=0)
        directions = torch.linalg.svd(centred, full_matrices=False).Vh[: self.config.components]
        return centred @ directions.T

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """How many components there are is known only to the file: take the size before the values."""
        stored = state_dict.get(prefix + "vectors")
        if stored is not None:
            self.vectors = self.vectors.new_zeros(stored.shape)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
