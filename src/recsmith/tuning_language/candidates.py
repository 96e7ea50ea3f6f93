"""`CandidateModel`: a retriever proposes, a tuned language model judges; what TALLRec and LlamaRec share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.data import Histories, ItemCodes
from recsmith.errors import DataError
from recsmith.language.untrusted import plain_line
from recsmith.nn.quantised_linear import weight_count
from recsmith.nn.shortlist import best_outside, squeezed
from recsmith.nn.text_table import TextTable
from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.network import LanguageNetwork, NetworkConfig, Pair
from recsmith.tuning_language.tasks import Case, load_tasks
from recsmith.tuning_language.tuner import TunerConfig, learning
from recsmith.tuning_language.wording import Wording

AT_ONCE = 256
"""Questions that are read at once in answering."""


class TitleConfig(Config):
    """What models that speak of items by title have in common."""

    network: NetworkConfig = NetworkConfig()
    """The language model: a small one of one's own, or a folder."""
    tuner: TunerConfig = TunerConfig(method="lora", rank=16, scale=32.0)
    """What of it learns once it can read."""
    tasks: str
    """Task set: a name that comes with the library, or the path of a .toml file."""
    pretrain_steps: int = Field(300, ge=0)
    """Own model: optimiser steps on item texts and told histories, before tuning; a folder's model is not pretrained."""
    pretrain_learning_rate: float = Field(3e-3, gt=0)
    """Own model: first step size of that."""
    told_history: int = Field(10, ge=1)
    """Most recent items that a question tells."""
    max_title: int = Field(20, ge=2)
    """Tokens of an item's words, at most."""
    examples: float = Field(1.0, gt=0)
    """Examples per history of a batch."""


class TitleModel(nn.Module, ABC):
    """A language model that knows items by their titles: made and taught to read on item texts and training histories, then tuned."""

    reads: ClassVar[tuple[str, ...]] = ("texts",)
    learns: ClassVar[Literal["gradient"]] = "gradient"
    answers: ClassVar[Literal["scores"]] = "scores"

    def __init__(self, config: Any, *, items: int) -> None:
        super().__init__()
        self.config, self.items = config, items
        self.task_set = load_tasks(config.tasks)
        self.template = self.task_set.template[0]
        self.network = LanguageNetwork(config.network, config.tuner)
        self.table = TextTable()
        self._spoken: Wording | None = None
        self._loaded = False

    def read(self, texts: Sequence[str]) -> None:
        """The items' own words, one text per item; stored with the weights."""
        if len(texts) != self.items:
            raise ValueError(f"{self.items} items have {len(texts)} texts")
        self.table, self._spoken = TextTable([plain_line(text) for text in texts]), None

    def observe(self, histories: Histories) -> None:
        """Make the language model, let it read item texts and training histories, and put in what is tuned; a loaded one stays as it is."""
        self._require_texts()
        if self._loaded:
            return
        texts = [*self.task_set.words(), *self.extra_words(), *self.table.texts]
        self.network.make(texts, notes=self.notes(histories), tune=False)
        self._spoken = None
        if self.config.network.folder is None and self.config.pretrain_steps:
            self._pretrain(histories)
        self.network.tune()

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean cross-entropy per token of the answers to questions about the batch; 0 when there are none to ask."""
        batch = batch.known()
        random = np.random.default_rng(int(torch.randint(2**62, ()).item()))
        return self.network.loss([self.pair(case) for case in self.draw(batch, random)])

    def pair(self, case: Case) -> Pair:
        """Tokens of a question and of its answer, by the template that the case names."""
        return self.wording.pair(self.task_set.named(case.template), case)

    def asked(self, cases: Sequence[Case]) -> list[list[int]]:
        """Tokens of questions alone."""
        return [self.wording.tokens(self.task_set.named(case.template).input, case) for case in cases]

    def chances(self, cases: Sequence[Case], answers: Sequence[str]) -> Tensor:
        """How likely each of the answers follows each question, given that one of them does: float32 `[case, answer]`."""
        choices, questions = [self.network.tokens(answer) for answer in answers], self.asked(cases)
        with torch.no_grad():
            parts = [self.network.choose(questions[start : start + AT_ONCE], choices) for start in range(0, len(questions), AT_ONCE)]
        return torch.cat(parts) if parts else torch.zeros(0, len(choices), device=self.network.device)

    @abstractmethod
    def draw(self, batch: HistoryBatch, random: np.random.Generator) -> Iterator[Case]:
        """Questions about random events of the batch, each with its answer; `examples` of the config for each history."""

    def extra_words(self) -> list[str]:
        """Answers and other texts that the tokenizer should know."""
        return []

    def more_to_read(self) -> list[str]:
        """Texts besides titles and histories that an own model reads before it is tuned."""
        return []

    def notes(self, histories: Histories) -> dict[str, Any]:
        """What of the training histories is to be kept with the language model, as JSON values."""
        return {}

    @property
    def wording(self) -> Wording:
        """Templates → tokens of the network."""
        self._require_texts()
        if self._spoken is None:
            nothing = ItemCodes(np.zeros((self.items, 0), dtype=np.int64), ())
            self._spoken = Wording(self.network, nothing, people=0, titles=self.table.texts, max_title=self.config.max_title)
        return self._spoken

    def figures(self) -> dict[str, Any]:
        """Which language model it is and how much of it learns."""
        kind = self.config.network.folder or f"own {self.config.network.kind}, pretrained for {self.config.pretrain_steps} steps"
        return {
            "backend": f"{kind}, {weight_count(self.network):,} weights",
            "tuned": self.config.tuner.method,
            "weights that learn": sum(learning(self.network).values()),
            "tasks": self.config.tasks,
        }

    def _pretrain(self, histories: Histories) -> None:
        """Titles alone, histories as lists of titles, and what else there is to read."""
        rows = [[*self.wording.title(item), self.network.end] for item in range(self.items)]
        known = [histories.row(row) for row in range(len(histories))]
        told = [[int(item) for item in row[row >= 0][-self.config.told_history :]] for row in known]
        rows += [self.wording.listed(row) for row in told if row]
        longest = self.config.network.longest - 1
        rows += [[*self.network.tokens(text, longest=longest), self.network.end] for text in self.more_to_read()]
        self.network.pretrain(rows, steps=self.config.pretrain_steps, learning_rate=self.config.pretrain_learning_rate)

    def _require_texts(self) -> None:
        if len(self.table) != self.items:
            raise DataError(f"{type(self).__name__} has read no item texts; fit it on data with a catalogue that has titles")

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        self._spoken, self._loaded = None, f"{prefix}network.description" in state_dict
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


Judge = Callable[[Sequence[int], Sequence[HistoryBatch], Sequence[list[int]]], list[Tensor]]
"""Rows of a batch, their histories and their candidates → scores of each row's candidates, any real numbers."""


class CandidateConfig(TitleConfig):
    """What rankers of candidates have in common."""

    retriever: str = "item-knn"
    """Model that proposes the candidates: one that learns in closed form, such as item-knn, ease or popularity."""
    retriever_settings: dict[str, Any] = {}
    """Settings of the retriever."""
    candidates: int = Field(20, ge=2)
    """Items that are judged; those behind keep the retriever's order."""


class CandidateModel(TitleModel):
    """The candidates in the order of the language model, everything else behind them in the order of the retriever.

    Rows without history are answered by the retriever alone.
    """

    def __init__(self, config: Any, *, items: int, retriever: nn.Module) -> None:
        super().__init__(config, items=items)
        self.retriever = retriever

    def observe(self, histories: Histories) -> None:
        """Fit the retriever; then as every model of titles."""
        self.retriever.solve(histories)  # type: ignore[operator]
        super().observe(histories)

    def proposed(self, before: HistoryBatch) -> list[int]:
        """The retriever's candidates for one row, best first."""
        with torch.no_grad():
            scores = self.retriever.score(before)  # type: ignore[operator]
        return best_outside(scores, [before.items], min(self.config.candidates, self.items))[0]

    def presented(self, before: HistoryBatch, targets: Sequence[int], random: np.random.Generator) -> list[int]:
        """`targets`, each once, and the retriever's best besides, as many as are judged, in random order: a question in training."""
        wanted = list(dict.fromkeys(targets))
        others = [item for item in self.proposed(before) if item not in wanted]
        return random.permutation([*wanted, *others][: min(self.config.candidates, self.items)]).tolist()

    @abstractmethod
    def judge(self, histories: Sequence[HistoryBatch], candidates: Sequence[list[int]]) -> list[Tensor]:
        """Scores of each row's candidates, any real numbers."""

    def score(self, batch: HistoryBatch) -> Tensor:
        """`[batch, item]`."""
        return self.ordered(batch, lambda _, histories, candidates: self.judge(histories, candidates))

    def ordered(self, batch: HistoryBatch, judge: Judge) -> Tensor:
        """`[batch, item]`: candidates in the order of `judge` before everything else in the retriever's order."""
        batch = batch.known()
        scores = self.retriever.score(batch)  # type: ignore[operator]
        places = squeezed(scores)
        rows = [batch.items[start:stop] for start, stop in zip(batch.offsets[:-1].tolist(), batch.offsets[1:].tolist())]
        candidates = best_outside(scores, rows, min(self.config.candidates, self.items))
        known = [row for row, items in enumerate(rows) if len(items) and len(candidates[row]) > 1]
        if not known:
            return places
        judged = judge(known, [row_of(batch, row) for row in known], [candidates[row] for row in known])
        for row, values in zip(known, judged, strict=True):
            order = torch.tensor(candidates[row], device=places.device)[values.argsort(descending=True, stable=True)]
            places[row, order] = torch.arange(len(order), 0, -1, dtype=places.dtype, device=places.device)
        return places


def followed_events(
    batch: HistoryBatch, count: int, random: np.random.Generator, *, weights: np.ndarray | None = None
) -> Iterator[tuple[int, int]]:
    """Row and place in the batch of `count` random events that something precedes; none where there is no such event.

    `weights` `[row]` say how often the events of a row are drawn; None: all alike.
    """
    offsets = batch.offsets.cpu().numpy()
    rows = np.repeat(np.arange(len(batch)), np.diff(offsets))
    later = np.flatnonzero(np.arange(len(rows)) > offsets[:-1][rows])
    if weights is not None:
        later = later[weights[rows[later]] > 0]
    if len(later):
        chance = None if weights is None else weights[rows[later]] / weights[rows[later]].sum()
        yield from ((int(rows[event]), event) for event in random.choice(later, count, p=chance).tolist())


def item_outside(taken: Sequence[int], items: int, random: np.random.Generator) -> int:
    """A random item that is not among `taken` (of twenty tries; where all are, any)."""
    tried = random.integers(0, items, 20).tolist()
    return next((item for item in tried if item not in taken), tried[0])


def row_of(batch: HistoryBatch, row: int, *, before: int | None = None) -> HistoryBatch:
    """One row of a batch, up to event `before` (a place in the batch; None: all of it), as a batch."""
    start, stop = int(batch.offsets[row]), int(batch.offsets[row + 1]) if before is None else before
    weights = None if batch.weights is None else batch.weights[start:stop]
    return HistoryBatch(batch.items[start:stop], batch.offsets.new_tensor([0, stop - start]), weights=weights)
