"""`HybridModel`: a ranker asked point-wise, pair-wise and list-wise at once; what RecRanker and Llama4Rec share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from recsmith.errors import ConfigError
from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.candidates import CandidateConfig, CandidateModel, followed_events, item_outside, row_of
from recsmith.tuning_language.tasks import Case
from recsmith.tuning_language.title_list import listed_scores

_YES_NO, _PAIR = ("Yes", "No"), ("A", "B")


class HybridConfig(CandidateConfig):
    """What rankers of three kinds of questions have in common."""

    tasks: str = "recranker"
    """Task set: a name that comes with the library, or the path of a .toml file; with templates named point, pair and list."""
    point_wise: float = Field(1.0, ge=0)
    """Weight of the probability of yes in the order, and share of such questions in training."""
    pair_wise: float = Field(1.0, ge=0)
    """Weight of the mean probability of being preferred, and share of such questions in training."""
    list_wise: float = Field(1.0, ge=0)
    """Weight of the place in the list that is written, and share of such questions in training."""
    opponents: int = Field(1, ge=1)
    """Candidates with which each one is compared, each time in both orders."""
    suggested: int = Field(3, ge=1)
    """Items that the prompt names as what a conventional recommender, here the retriever, puts first."""


class HybridModel(CandidateModel):
    """Scores a candidate by the weighted mean of what the three kinds of questions say of it, each from 0 to 1."""

    def __init__(self, config: Any, **parts: Any) -> None:
        super().__init__(config, **parts)
        self.weights = {name: share for name in ("point", "pair", "list") if (share := getattr(config, f"{name}_wise")) > 0}
        if not self.weights:
            raise ConfigError("point_wise, pair_wise and list_wise are all 0, so nothing is asked; give one of them a weight above 0")
        for name in self.weights:
            self.task_set.named(name)

    def extra_words(self) -> list[str]:
        """The answers, and what parts titles of a list."""
        return [f" {answer}" for answer in (*_YES_NO, *_PAIR, "(A)", "(B)", ";")] * 20

    def judge(self, histories: Sequence[HistoryBatch], candidates: Sequence[list[int]]) -> list[Tensor]:
        """The weighted mean for each row's candidates."""
        ask = {"point": self.points, "pair": self.pairs, "list": self.lists}
        total = [torch.zeros(len(chosen), device=self.network.device) for chosen in candidates]
        for name, weight in self.weights.items():
            found = ask[name](histories, candidates)
            total = [one + weight * more / sum(self.weights.values()) for one, more in zip(total, found, strict=True)]
        return total

    def points(self, histories: Sequence[HistoryBatch], candidates: Sequence[list[int]]) -> list[Tensor]:
        """Probability of yes for each candidate."""
        cases = [self._case("point", row, chosen, item=item) for row, chosen in zip(histories, candidates, strict=True) for item in chosen]
        return list(self.chances(cases, _YES_NO)[:, 0].split([len(chosen) for chosen in candidates]))

    def pairs(self, histories: Sequence[HistoryBatch], candidates: Sequence[list[int]]) -> list[Tensor]:
        """How likely each candidate is preferred to its next `opponents`, in the order given and the other way round."""
        cases, places = [], []
        for row, chosen in zip(histories, candidates, strict=True):
            here = [
                (one, (one + step) % len(chosen))
                for step in range(1, min(self.config.opponents, len(chosen) - 1) + 1)
                for one in range(len(chosen))
            ]
            places.append(here)
            cases += [
                self._case("pair", row, chosen, candidates=[chosen[a], chosen[b]]) for one, two in here for a, b in ((one, two), (two, one))
            ]
        first = self.chances(cases, _PAIR)[:, 0].view(-1, 2)
        wins = ((first[:, 0] + 1 - first[:, 1]) / 2).split([len(here) for here in places])
        return [_mean_wins(won, here, len(chosen)) for won, here, chosen in zip(wins, places, candidates, strict=True)]

    def lists(self, histories: Sequence[HistoryBatch], candidates: Sequence[list[int]]) -> list[Tensor]:
        """1 for the first title of the list that is written, less for those behind it."""
        cases = [self._case("list", row, chosen, candidates=chosen) for row, chosen in zip(histories, candidates, strict=True)]
        return listed_scores(self, cases, length=self.config.candidates)

    def draw(self, batch: HistoryBatch, random: np.random.Generator) -> Iterator[Case]:
        """Questions of the three kinds about random events; which of two stands first, and the order of a list, are random."""
        names, shares = list(self.weights), np.array(list(self.weights.values()))
        for row, event in self.events(batch, max(1, round(self.config.examples * len(batch))), random):
            before, target = row_of(batch, row, before=event), int(batch.items[event])
            taken = batch.items[batch.offsets[row] : batch.offsets[row + 1]].tolist()
            kind, suggested = names[int(random.choice(len(names), p=shares / shares.sum()))], self.proposed(before)
            if kind == "list":
                chosen = self.presented(before, [target], random)
                best = [target, *[item for item in suggested if item in chosen and item != target]]
                yield self._case("list", before, suggested, candidates=chosen, following=best)
                continue
            other, first = item_outside(taken, self.items, random), bool(random.random() < 0.5)
            two = [target, other] if first else [other, target]
            if kind == "point":
                yield self._case("point", before, suggested, item=two[0], answer=_YES_NO[0 if first else 1])
            else:
                yield self._case("pair", before, suggested, candidates=two, answer=_PAIR[0 if first else 1])

    def events(self, batch: HistoryBatch, count: int, random: np.random.Generator) -> Iterator[tuple[int, int]]:
        """Row and place in the batch of the events that are asked about."""
        return followed_events(batch, count, random)

    def _case(self, template: str, history: HistoryBatch, suggested: Sequence[int], *, answer: str = "", **what: Any) -> Case:
        """A question of one kind about a history (a batch of one row); `suggested`: the retriever's best, best first."""
        return Case(
            history=history.items[-self.config.told_history :].tolist(),
            suggested=suggested[: self.config.suggested],
            words={"answer": answer},
            template=template,
            **what,
        )


def _mean_wins(wins: Tensor, places: Sequence[tuple[int, int]], count: int) -> Tensor:
    """Each comparison speaks for one candidate and against the other."""
    first, second = torch.tensor(places, device=wins.device).T
    total = torch.zeros(count, device=wins.device).index_add(0, first, wins).index_add(0, second, 1 - wins)
    times = torch.zeros(count, device=wins.device).index_add(0, torch.cat([first, second]), torch.ones(2 * len(wins), device=wins.device))
    return total / times
