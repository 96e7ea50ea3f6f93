"""SLIM: a small language model learns to reason as a large one does; what it writes is a feature of a recommender (Wang et al., 2024)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from recsmith.data import Histories
from recsmith.language.completion import Backend
from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.candidates import AT_ONCE, TitleConfig, TitleModel
from recsmith.tuning_language.portraits import answers
from recsmith.tuning_language.tasks import Case
from recsmith.tuning_language.teacher import TeacherConfig


class SlimConfig(TitleConfig):
    """Settings of `Slim`."""

    tasks: str = "slim"
    """Task set: a name that comes with the library, or the path of a .toml file."""
    teacher: TeacherConfig = TeacherConfig()
    """The large language model."""
    people: int = Field(500, ge=1)
    """Training histories about which the teacher reasons."""
    max_rationale: int = Field(40, ge=1)
    """Tokens of a chain of reasons, at most."""
    dim: int = Field(64, ge=2)
    """Width of the recommender's vectors."""
    ranking: float = Field(1.0, ge=0)
    """Weight of the recommender's loss beside that of writing reasons."""
    seed: int = 0
    """Seed of the draw of those histories."""


class Slim(TitleModel):
    """The teacher's chains of reasons are distilled into the student; vectors of titles and of the student's reasons rank all items.

    Paper: "Can small language models be good reasoners for sequential recommendation?" (WWW 2024). Three steps: what the person prefers,
    which kinds of items fit, which items. The recommender reads a history as title vectors, with the last item apart, and the reasons
    beside them; the student, not the teacher, writes the reasons in answering. `reasons` gives them as texts.

    Deviations: text vectors are means of the student's input embeddings (paper: an encoder of its own); the recommender is an item vector
    from titles and id against a linear map of history and reasons (paper: a sequential model with the vector added); histories that the
    teacher did not reason about train it without reasons; without a language model the most frequent words of the history are the reasons.
    """

    Config: ClassVar[type[SlimConfig]] = SlimConfig

    def __init__(self, config: SlimConfig, *, items: int, backend: Backend | None = None) -> None:
        """`backend` takes the place of the one that the config names."""
        super().__init__(config, items=items)
        self._backend = backend
        self._lessons: list[Case] = []
        self._taught: dict[str, Any] = {}
        self.ids = nn.Embedding(items, config.dim)
        nn.init.normal_(self.ids.weight, std=config.dim**-0.5)
        self._attach(config.network.dim)

    def observe(self, histories: Histories) -> None:
        """Ask the teacher; then as every model of titles."""
        self._require_texts()
        if not self._loaded:
            self._teach(histories)
        super().observe(histories)
        width = self.network.model.get_input_embeddings().embedding_dim
        if width != self.item.in_features:
            self._attach(width)

    def extra_words(self) -> list[str]:
        """The teacher's reasons."""
        return [case.words["answer"] for case in self._lessons]

    def reasons(self, batch: HistoryBatch) -> list[str]:
        """What the student writes about each row."""
        return [self.network.text(row) for row in self._written(batch.known())]

    def draw(self, batch: HistoryBatch, random: np.random.Generator) -> Iterator[Case]:
        """Histories with the teacher's reasons; `examples` of the config for each history of the batch."""
        if len(batch.items) and self._lessons:
            for place in random.integers(0, len(self._lessons), max(1, round(self.config.examples * len(batch)))).tolist():
                yield self._lessons[place]

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """That of writing the teacher's reasons, and cross-entropy of the next items with and without them."""
        batch = batch.known()
        random = np.random.default_rng(int(torch.randint(2**62, ()).item()))
        lessons = list(self.draw(batch, random))
        writing = self.network.loss([self.pair(case) for case in lessons])
        cases = [*lessons, *self._others(batch)]
        if not cases:
            return writing + self.ids.weight.sum() * 0.0
        rows = [list(case.history) for case in cases]
        reasons = [self.network.tokens(case.words.get("answer", ""), longest=self.config.max_rationale) for case in cases]
        targets = torch.tensor([case.item for case in cases], device=self.ids.weight.device)
        ranking = functional.cross_entropy(self._queries(rows, reasons) @ self._items().T, targets)
        return writing + self.config.ranking * ranking

    def score(self, batch: HistoryBatch) -> Tensor:
        """`[batch, item]`."""
        if not len(batch):
            return torch.zeros(0, self.items, device=self.ids.weight.device)
        batch = batch.known()
        return self._queries(self._rows(batch), self._written(batch)) @ self._items().T

    def figures(self) -> dict[str, Any]:
        """As of every model of titles, and what the teacher wrote at what cost."""
        return {**super().figures(), **self._taught}

    def _teach(self, histories: Histories) -> None:
        rows = np.flatnonzero(histories.lengths >= 2)
        rows = np.random.default_rng(self.config.seed).permutation(rows)[: self.config.people]
        texts, asker = self.table.texts, self.config.teacher.asker(self._backend)
        known = [[int(item) for item in histories.row(int(row))[-self.config.told_history - 1 :]] for row in rows]
        written = answers(asker, "steps-to-recommend", [{"history": [texts[item] for item in row[:-1]]} for row in known])
        told = [(row, text) for row, text in zip(known, written, strict=True) if text]
        self._lessons = [Case(item=row[-1], history=row[:-1], words={"answer": text}) for row, text in told]
        self._taught = {"histories reasoned about": len(rows), "written by": asker.figures()}

    def _others(self, batch: HistoryBatch) -> list[Case]:
        """One random event of each row that something precedes."""
        random = np.random.default_rng(int(torch.randint(2**62, ()).item()))
        rows = [row for row in self._rows(batch, whole=True) if len(row) >= 2]
        places = [int(random.integers(1, len(row))) for row in rows]
        most = self.config.told_history
        return [Case(item=row[place], history=row[max(0, place - most) : place]) for row, place in zip(rows, places)]

    def _rows(self, batch: HistoryBatch, *, whole: bool = False) -> list[list[int]]:
        rows = [batch.items[start:stop].tolist() for start, stop in pairwise(batch.offsets.tolist())]
        return rows if whole else [row[-self.config.told_history :] for row in rows]

    def _written(self, batch: HistoryBatch) -> list[list[int]]:
        questions = self.asked([Case(history=row) for row in self._rows(batch)])
        parts = [questions[start : start + AT_ONCE] for start in range(0, len(questions), AT_ONCE)]
        return [row for part in parts for row in self.network.write(part, longest=self.config.max_rationale)]

    def _queries(self, rows: Sequence[Sequence[int]], reasons: Sequence[Sequence[int]]) -> Tensor:
        """Mean and last of the items, and the reasons → `[row, dim]`."""
        items, texts = self._items(), self._vectors(reasons)
        means = torch.stack([items[list(row)].mean(0) if row else items.new_zeros(items.shape[1]) for row in rows])
        last = torch.stack([items[row[-1]] if row else items.new_zeros(items.shape[1]) for row in rows])
        return self.told(torch.cat([means, last, texts], dim=1))

    def _items(self) -> Tensor:
        return self.ids.weight + self.item(self._vectors([self.wording.title(item) for item in range(self.items)]))

    def _vectors(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Mean input embedding of each row of tokens, zeros for none; it gets no gradient."""
        table = self.network.model.get_input_embeddings().weight.detach().float()
        lengths = torch.tensor([len(row) for row in rows], device=table.device)
        tokens = torch.tensor([token for row in rows for token in row], dtype=torch.int64, device=table.device)
        where = torch.repeat_interleave(torch.arange(len(rows), device=table.device), lengths)
        total = torch.zeros(len(rows), table.shape[1], device=table.device).index_add(0, where, table[tokens])
        return functional.normalize(total / lengths.clamp(min=1)[:, None], dim=1)

    def _attach(self, width: int) -> None:
        """Maps of text vectors of this width."""
        self.item = nn.Linear(width, self.config.dim)
        self.told = nn.Linear(2 * self.config.dim + width, self.config.dim)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """The width is that of the stored language model."""
        stored = state_dict.get(f"{prefix}item.weight")
        if stored is not None and stored.shape[1] != self.item.in_features:
            self._attach(stored.shape[1])
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
