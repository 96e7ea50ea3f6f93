"""LLMs-Rec: ratings by a head over a tuned language model, as a class or as a number (Kang et al., 2023)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from recsmith.data import Histories
from recsmith.errors import DataError
from recsmith.models.retriever import closed_form_retriever
from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.candidates import AT_ONCE, CandidateConfig, CandidateModel, followed_events
from recsmith.tuning_language.tasks import Case

_MOST_CLASSES = 20


class LlmsRecConfig(CandidateConfig):
    """Settings of `LlmsRec`."""

    tasks: str = "llms-rec"
    """Task set: a name that comes with the library, or the path of a .toml file; the target of its template is not used."""
    head: Literal["classification", "regression"] = "classification"
    """classification: each rating is a class, and the answer their expectation; regression: one number, by squared error."""


class LlmsRec(CandidateModel):
    """`rate` predicts what somebody gives to an item, from titles and ratings before; lists order a retriever's candidates by it.

    Paper: "Do LLMs understand user preferences? Evaluating LLMs on user rating prediction" (2023), of which this is the fine-tuned half: a
    linear head on the state that would predict the first word of the answer, trained by cross-entropy over the ratings or by squared
    error. `evaluation.scores.rating_errors` and `auc` measure it as the paper does (RMSE, MAE, AUC of 4 and above).

    Deviations: a small model of one's own unless `network.folder` names another (paper: Flan-T5); a rating by classes is their
    expectation; lists, which the paper does not make, say what people would rate highest, not what they pick next.
    """

    Config: ClassVar[type[LlmsRecConfig]] = LlmsRecConfig
    rates: ClassVar[bool] = True

    ratings: Tensor
    """The ratings of the training events, ascending, float32 `[rating]`."""

    def __init__(self, config: LlmsRecConfig, *, items: int) -> None:
        super().__init__(config, items=items, retriever=closed_form_retriever(config.retriever, config.retriever_settings, items=items))
        self.register_buffer("ratings", torch.zeros(0))
        self.head = nn.Linear(config.network.dim, 1)

    def observe(self, histories: Histories) -> None:
        """Which ratings there are, then as every ranker of candidates. Raises `DataError` for a log without, or with too many classes."""
        if not self._loaded:
            self._require_ratings(histories)
        super().observe(histories)
        if not self._loaded:
            self.head = nn.Linear(self._width, len(self.ratings) if self.config.head == "classification" else 1).to(self.network.device)

    def rate(self, batch: HistoryBatch, items: Sequence[int]) -> Tensor:
        """The rating that each row's person is expected to give to the item, float32 `[row]`."""
        batch = batch.known()
        return self._predicted([self._case(batch, row, int(batch.offsets[row + 1]), int(item)) for row, item in enumerate(items)])

    def judge(self, histories: Sequence[HistoryBatch], candidates: Sequence[list[int]]) -> list[Tensor]:
        """Expected ratings of each row's candidates."""
        cases = [self._case(row, 0, len(row.items), item) for row, chosen in zip(histories, candidates, strict=True) for item in chosen]
        return list(self._predicted(cases).split([len(chosen) for chosen in candidates]))

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Cross-entropy of the ratings, or squared error in units of their standard deviation; 0 when there are none to ask about."""
        batch = batch.known()
        random = np.random.default_rng(int(torch.randint(2**62, ()).item()))
        cases = list(self.draw(batch, random))
        if not cases:
            return self.head.weight.sum() * 0.0
        wanted = torch.tensor([float(case.words["rating"]) for case in cases], device=self.ratings.device)
        answers = self.head(self.network.last_states(self.asked(cases)))
        if self.config.head == "regression":
            return (answers[:, 0] - (wanted - self.ratings.mean()) / self._spread).square().mean()
        return functional.cross_entropy(answers, (wanted[:, None] - self.ratings).abs().argmin(dim=1))

    def draw(self, batch: HistoryBatch, random: np.random.Generator) -> Iterator[Case]:
        """Rated events that something precedes."""
        if batch.weights is None:
            return
        for row, event in followed_events(batch, max(1, round(self.config.examples * len(batch))), random):
            if torch.isfinite(batch.weights[event]):
                yield self._case(batch, row, event, int(batch.items[event]), rating=float(batch.weights[event]))

    def figures(self) -> dict[str, Any]:
        """As of every model of titles, and the kind of head."""
        return {**super().figures(), "head": self.config.head, "ratings": self.ratings.tolist()}

    def _predicted(self, cases: Sequence[Case]) -> Tensor:
        questions = self.asked(cases)
        with torch.no_grad():
            bounds = pairwise([*range(0, len(questions), AT_ONCE), len(questions)])
            parts = [self.head(self.network.last_states(questions[start:stop])) for start, stop in bounds]
        if not parts:
            return self.ratings.new_zeros(0)
        if self.config.head == "regression":
            return torch.cat(parts)[:, 0] * self._spread + self.ratings.mean()
        return torch.cat(parts).softmax(dim=1) @ self.ratings

    def _case(self, batch: HistoryBatch, row: int, stop: int, item: int, *, rating: float | None = None) -> Case:
        start = max(int(batch.offsets[row]), stop - self.config.told_history)
        ratings = () if batch.weights is None else batch.weights[start:stop].tolist()
        return Case(
            item=item, history=batch.items[start:stop].tolist(), ratings=ratings, words={"rating": "" if rating is None else str(rating)}
        )

    def _require_ratings(self, histories: Histories) -> None:
        weights = np.zeros(0) if histories.weights is None else np.unique(histories.weights[np.isfinite(histories.weights)])
        if len(weights) < 2:
            raise DataError("LLMs-Rec predicts ratings, but the log has none that differ; give a column `rating`, or take another recipe")
        if self.config.head == "classification" and len(weights) > _MOST_CLASSES:
            raise DataError(f"the log has {len(weights)} different ratings and {_MOST_CLASSES} can be classes; use head = regression")
        self.ratings = torch.from_numpy(weights.astype(np.float32)).to(self.ratings.device)

    @property
    def _spread(self) -> Tensor:
        return self.ratings.std().clamp(min=1e-6)

    @property
    def _width(self) -> int:
        return int(self.network.model.get_input_embeddings().embedding_dim)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """How many ratings there are, and the width of the language model, only the file knows."""
        stored, weight = state_dict.get(f"{prefix}ratings"), state_dict.get(f"{prefix}head.weight")
        if stored is not None:
            self.ratings = self.ratings.new_zeros(stored.shape)
        if weight is not None:
            self.head = nn.Linear(weight.shape[1], weight.shape[0]).to(self.ratings.device)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
