"""Cross-encoder with a rating head: item and preference text are read together, and an MLP makes a rating of what was read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from recsmith.data import Histories
from recsmith.errors import DataError
from recsmith.models.retriever import closed_form_retriever
from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.candidates import CandidateConfig, CandidateModel, followed_events, item_outside, row_of
from recsmith.tuning_language.shared_prompts import Prompt, next_states, require_decoder_only, require_sharing
from recsmith.tuning_language.tasks import Case
from recsmith.tuning_language.tuner import TunerConfig

_HISTORIES_AT_ONCE, _ITEMS_AT_ONCE = 16, 32

Pairs = tuple[HistoryBatch, list[int]]
"""A history as a batch of one row, and the items that are asked about after it."""


class CrossEncoderRatingConfig(CandidateConfig):
    """Settings of `CrossEncoderRating`."""

    tasks: str = "cross-encoder-rating"
    """Task set: a name that comes with the library, or the path of a .toml file; the target of its template is not used."""
    tuner: TunerConfig = TunerConfig()
    """What of the language model learns beside the head; over a folder take lora."""
    hidden: int = Field(64, ge=1)
    """Width of the head's hidden layer."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of the hidden layer dropped in training."""
    questions: int = Field(8, ge=1)
    """Items asked about after one history in training: rated events, or without ratings events and as many items at random."""


class CrossEncoderRating(CandidateModel):
    """`rate` predicts what somebody gives to an item, and a retriever's candidates are ordered by it; `judge` re-ranks in any cascade.

    Source: the cross-encoder fusion of Deldjoo et al., "A review of modern recommender systems using generative models", 2024, §3.1.2, on
    Nogueira & Cho, 2019: a capability, not one published system. What somebody rated, in words, and the item's words pass through one
    language model together, so that every word of the item is read in the light of the preference; the MLP regresses the rating from the
    last state by squared error. A log without ratings teaches clicks against items at random, by cross-entropy, and then answers log odds.

    Deviations: a decoder-only model of one's own unless a folder is given, whose last state stands for the pair; questions about one
    history share its reading, none sees another; the preference text are titles with ratings, most recent ones.
    """

    Config: ClassVar[type[CrossEncoderRatingConfig]] = CrossEncoderRatingConfig
    rates: ClassVar[bool] = True

    scale: Tensor
    """Mean and standard deviation of the training ratings, nan without ratings; float32 `[2]`."""

    def __init__(self, config: CrossEncoderRatingConfig, *, items: int) -> None:
        require_sharing(config.network, config.tuner, who="the cross-encoder")
        super().__init__(config, items=items, retriever=closed_form_retriever(config.retriever, config.retriever_settings, items=items))
        self.register_buffer("scale", torch.full((2,), torch.nan))
        self._make_head(config.network.dim)

    @property
    def rated(self) -> bool:
        """Whether it has learned ratings (else: clicks)."""
        return bool(self.scale.isfinite().all())

    def observe(self, histories: Histories) -> None:
        """Mean and spread of the ratings, where there are some; then as every ranker of candidates. A loaded one keeps its head."""
        super().observe(histories)
        require_decoder_only(self.network, who="the cross-encoder")
        if self._loaded:
            return
        self._make_head(int(self.network.model.get_input_embeddings().embedding_dim))
        known = np.zeros(0) if histories.weights is None else histories.weights[np.isfinite(histories.weights)]
        if len(np.unique(known)) > 1:
            self.scale.copy_(torch.tensor([known.mean(), known.std()]))

    def rate(self, batch: HistoryBatch, items: Sequence[int]) -> Tensor:
        """The rating that each row's person is expected to give to the item, float32 `[row]`. Raises `DataError` without ratings."""
        if not self.rated:
            raise DataError("this cross-encoder has learned clicks, because its log had no ratings that differ; give a column `rating`")
        batch = batch.known()
        found = self.judge([row_of(batch, row) for row in range(len(batch))], [[int(item)] for item in items])
        return torch.cat(found) if found else self.scale.new_zeros(0)

    def judge(self, histories: Sequence[HistoryBatch], candidates: Sequence[list[int]]) -> list[Tensor]:
        """Expected rating of each row's candidates in the unit of the log; log odds of a click where it has learned clicks."""
        pieces: list[Pairs] = [
            (row, chosen[start : start + _ITEMS_AT_ONCE])
            for row, chosen in zip(histories, candidates, strict=True)
            for start in range(0, len(chosen), _ITEMS_AT_ONCE)
        ]
        with torch.no_grad():
            parts = [self.answers_to(pieces[start : start + _HISTORIES_AT_ONCE]) for start in range(0, len(pieces), _HISTORIES_AT_ONCE)]
        found = torch.cat(parts) if parts else self.scale.new_zeros(0)
        if self.rated:
            found = found * self.scale[1] + self.scale[0]
        return list(found.split([len(chosen) for chosen in candidates]))

    def answers_to(self, pairs: Sequence[Pairs]) -> Tensor:
        """What the head says of all pairs in order: ratings in standard deviations from their mean, or log odds; `[pair]`."""
        prompts = [Prompt.of(self.asked([_case(history, self.config.told_history, item) for item in items])) for history, items in pairs]
        last = torch.stack([states[-1] for states in next_states(self.network, prompts)])
        answers: Tensor = self.head(last)[:, 0]
        return answers

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Squared error of ratings in units of their variance, or cross-entropy of clicks; 0 when there is nothing to ask about."""
        random = np.random.default_rng(int(torch.randint(2**62, ()).item()))
        examples = list(self._examples(batch.known(), random))
        if not examples:
            return next(self.head.parameters()).sum() * 0.0
        answers = self.answers_to([(history, [item for item, _ in asked]) for history, asked in examples])
        wanted = torch.tensor([value for _, asked in examples for _, value in asked], device=answers.device)
        if not self.rated:
            return functional.binary_cross_entropy_with_logits(answers, wanted)
        return (answers - (wanted - self.scale[0]) / self.scale[1]).square().mean()

    def draw(self, batch: HistoryBatch, random: np.random.Generator) -> Iterator[Case]:
        """The questions of `loss` one by one, each with its rating (1 and 0 for clicks) as the answer."""
        for history, asked in self._examples(batch, random):
            for item, value in asked:
                yield _case(history, self.config.told_history, item, rating=str(value))

    def figures(self) -> dict[str, Any]:
        """As of every model of titles, and what the head has learned."""
        return {**super().figures(), "learned from": "ratings" if self.rated else "clicks against items at random"}

    def _examples(self, batch: HistoryBatch, random: np.random.Generator) -> Iterator[tuple[HistoryBatch, list[tuple[int, float]]]]:
        """Random places of histories, and what is asked there: items with their ratings, or with 1 (taken) and 0."""
        for row, event in followed_events(batch, max(1, round(self.config.examples * len(batch))), random):
            stop = int(batch.offsets[row + 1])
            asked = self._rated_from(batch, event, stop) if self.rated else self._taken_from(batch, row, event, random)
            if asked:
                yield row_of(batch, row, before=event), asked

    def _rated_from(self, batch: HistoryBatch, event: int, stop: int) -> list[tuple[int, float]]:
        if batch.weights is None:
            return []
        here = slice(event, min(stop, event + self.config.questions))
        return [(item, rating) for item, rating in zip(batch.items[here].tolist(), batch.weights[here].tolist()) if np.isfinite(rating)]

    def _taken_from(self, batch: HistoryBatch, row: int, event: int, random: np.random.Generator) -> list[tuple[int, float]]:
        taken = batch.items[batch.offsets[row] : batch.offsets[row + 1]].tolist()
        coming = taken[event - int(batch.offsets[row]) :][: max(1, self.config.questions // 2)]
        return [(item, 1.0) for item in coming] + [(item_outside(taken, self.items, random), 0.0) for _ in coming]

    def _make_head(self, width: int) -> None:
        hidden = self.config.hidden
        head = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(self.config.dropout), nn.Linear(hidden, 1))
        self.head = head.to(self.network.device)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """How wide the language model is, only the file knows."""
        stored = state_dict.get(f"{prefix}head.0.weight")
        if stored is not None:
            self._make_head(stored.shape[1])
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _case(history: HistoryBatch, told: int, item: int, *, rating: str = "") -> Case:
    """The last `told` events with their ratings, and the item."""
    ratings = () if history.weights is None else history.weights[-told:].tolist()
    return Case(item=item, history=history.items[-told:].tolist(), ratings=ratings, words={"rating": rating})
