"""Prompts that make a language model aware of time: the recent past, interests over time, and time gaps (Chu et al., 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from recsmith.config import Config
from recsmith.errors import UserError
from recsmith.language.asker import Asker
from recsmith.language.compiler import Value
from recsmith.language.rankers.case import GroundIn, RankCase, Ranked, by_score, ground_equal, kept_where, none_answered, unanswered
from recsmith.language.rankers.steps import ask_step, read_orders, told
from recsmith.language.template import load_template

Strategy = Literal["recent", "interests", "gaps"]
_UNITS = ((86_400 * 365.25, "years"), (86_400 * 30.44, "months"), (86_400.0, "days"), (3_600.0, "hours"), (60.0, "minutes"))


class TemporalConfig(Config):
    """Which prompts speak, and how time is cut."""

    strategies: list[Strategy] = Field(["recent", "interests", "gaps"], min_length=1)
    """recent: the last events apart from the earlier ones; interests: the model first describes clusters of time; gaps: how long ago."""
    recent: int = Field(3, ge=1)
    """Events that count as recent."""
    clusters: int = Field(4, ge=1)
    """Clusters of time at most: the history is cut at its longest pauses."""
    max_tokens: int = Field(4000, ge=100)
    """Tokens of a prompt at most; older history goes first."""


class Temporal:
    """Improving temporal awareness of LLMs for sequential recommendation (Chu, Wang, Zhang et al., 2024, arXiv:2405.02778).

    Each strategy orders the candidates for itself: proximal context (`recent`), global interests by analysis of temporal clusters
    (`interests`, two prompts), and explicit distances in time (`gaps`). The orders are put together by the mean of reciprocal places, the
    paper's divergent thinking; the figure `agreement` is the share of cases in which all have the same first candidate.

    Deviations: wording of our own; clusters are cut at the longest pauses, not by a clustering of times.
    """

    Config: ClassVar[type[TemporalConfig]] = TemporalConfig

    def __init__(self, config: TemporalConfig, *, ground: GroundIn = ground_equal, templates: str | None = None) -> None:
        self.config = config
        self._ground = ground
        names = ("temporal-recent", "temporal-interests", "rank-from-analysis", "temporal-gaps")
        self._templates = {name: load_template(name, folder=templates) for name in names}

    def rank(self, cases: Sequence[RankCase], asker: Asker) -> Ranked:
        """A prompt per case and strategy, two for `interests`. Raises `UserError` where times are needed and there are none."""
        timed = [strategy for strategy in self.config.strategies if strategy != "recent"]
        if timed and any(len(case.times) != len(case.history) for case in cases):
            raise UserError(
                f"the strategies {', '.join(timed)} tell when things were taken, but the log has no times; name their column, or set "
                'strategies = ["recent"]'
            )
        asks = {"recent": self._recent, "interests": self._interests, "gaps": self._gaps}
        answers = [answer for strategy in self.config.strategies for answer in asks[strategy](cases, asker)]
        repeated = [case for _ in self.config.strategies for case in cases]
        orders, reading = read_orders(answers, repeated, self._ground)
        votes = [orders[number :: len(cases)] for number in range(len(cases))]
        failed = none_answered([answers[number :: len(cases)] for number in range(len(cases))])
        same = sum(len({order[0] for order in one if order}) == 1 for one in votes) / max(1, len(cases))
        return kept_where(failed, [_together(one) for one in votes], {**reading.figures(), "agreement": same})

    def _recent(self, cases: Sequence[RankCase], asker: Asker) -> list[str | None]:
        cut = [max(0, len(case.history) - self.config.recent) for case in cases]
        values: list[dict[str, Value]] = [
            {"earlier": list(case.history[:place]) or None, "recent": list(case.history[place:]), "candidates": list(case.candidates)}
            for case, place in zip(cases, cut, strict=True)
        ]
        return ask_step(self._templates["temporal-recent"], values, asker, max_tokens=self.config.max_tokens)

    def _interests(self, cases: Sequence[RankCase], asker: Asker) -> list[str | None]:
        periods: list[dict[str, Value]] = [{"periods": self._periods(case)} for case in cases]
        most = self.config.max_tokens
        found = ask_step(self._templates["temporal-interests"], periods, asker, max_tokens=most)
        failed, analyses = unanswered(found), told(found)
        values: list[dict[str, Value]] = [
            {"history": list(case.history), "analysis": analysis, "candidates": list(case.candidates)}
            for case, analysis in zip(cases, analyses, strict=True)
        ]
        answers = ask_step(self._templates["rank-from-analysis"], values, asker, max_tokens=most)
        return [None if number in failed else answer for number, answer in enumerate(answers)]

    def _gaps(self, cases: Sequence[RankCase], asker: Asker) -> list[str | None]:
        values: list[dict[str, Value]] = [
            {
                "history": [f"{text} ({ago(case.times[-1] - when)})" for text, when in zip(case.history, case.times, strict=True)],
                "candidates": list(case.candidates),
            }
            for case in cases
        ]
        return ask_step(self._templates["temporal-gaps"], values, asker, max_tokens=self.config.max_tokens)

    def _periods(self, case: RankCase) -> list[str]:
        found = []
        for start, stop in time_clusters(case.times, self.config.clusters):
            first, last = (_day(case.times[place]) for place in (start, stop - 1))
            found.append(f"{first if first == last else f'{first} to {last}'}: {'; '.join(case.history[start:stop])}")
        return found


def time_clusters(times: Sequence[float], count: int) -> list[tuple[int, int]]:
    """Pieces `start, stop` of a row of times, cut at its `count` - 1 longest pauses; no pause of length 0 is cut."""
    pauses = np.diff(np.asarray(times, dtype=np.float64))
    longest = np.argsort(-pauses, kind="stable")[: count - 1]
    cuts = sorted(int(place) + 1 for place in longest if pauses[place] > 0)
    edges = [0, *cuts, len(times)]
    return list(pairwise(edges)) if len(times) else []


def ago(seconds: float) -> str:
    """A span of time in words, in the greatest unit of which there are two."""
    for size, name in _UNITS:
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {name} before the last"
    return "with the last"


def _day(time: float) -> str:
    return datetime.fromtimestamp(time, tz=UTC).date().isoformat()


def _together(orders: Sequence[Sequence[int]]) -> list[int]:
    """Positions by the mean of their reciprocal places."""
    scores = np.zeros(len(orders[0]))
    for order in orders:
        scores[list(order)] += 1 / (1 + np.arange(len(order)))
    return by_score(scores.tolist())
