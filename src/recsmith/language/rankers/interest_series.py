"""Interests as series of numbers that a language model goes on with: which kind of item comes next? (Gruver et al., 2023)"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from recsmith.config import Config
from recsmith.errors import UserError
from recsmith.language.asker import Asker
from recsmith.language.likelihood_questions import LikelihoodQuestion
from recsmith.language.rankers.case import GroundIn, RankCase, Ranked, Want, by_score, ground_equal, kept_where
from recsmith.language.shelf import Shelf

_DIGITS = tuple(f" {digit}" for digit in range(10))


class InterestSeriesConfig(Config):
    """How interests become series."""

    steps: int = Field(8, ge=2)
    """Equal spans of time into which a history is cut; each is a number of every series."""
    categories: int = Field(6, ge=1)
    """Series of a case at most: the categories that the history has most of; the others of a candidate count as 0."""


class InterestSeries:
    """Large language models are zero-shot time series forecasters (LLMTime: Gruver, Finzi, Qiu & Wilson, NeurIPS 2023, arXiv:2310.07820)
    for shifting interests, as Huang et al. (2025, §9.2.1) suggest.

    The share of a category in each span of time is written with two digits, a space between digits and a comma between numbers, as the
    paper writes them. The probabilities of the ten digits that may follow, and of the ten behind the likeliest of them, make a
    distribution of the next share (uniform inside a bin, as in the paper); its mean is the interest in the category. A candidate scores
    the mean over its categories; equal scores keep the retriever's order. Nothing is generated.

    Deviations: the extrapolated interest ranks items, which the paper does not do; two digits; only the likeliest first digit is refined.
    """

    Config: ClassVar[type[InterestSeriesConfig]] = InterestSeriesConfig
    wants: ClassVar[tuple[Want, ...]] = ("categories",)

    def __init__(self, config: InterestSeriesConfig, *, ground: GroundIn = ground_equal, templates: str | None = None) -> None:
        self.config = config
        self._shelf: Shelf | None = None

    def look_at(self, shelf: Shelf) -> None:
        """Take the categories of all items."""
        self._shelf = shelf

    def rank(self, cases: Sequence[RankCase], asker: Asker) -> Ranked:
        """Two questions of likelihood per series. Raises `UserError` for a backend without likelihoods and for logs without times."""
        shelf = self._shelf
        if not asker.knows_likelihoods:
            raise UserError(
                f"`interest-series` reads the probabilities of digits, which {asker.backend.name} does not tell: use a local model"
            )
        if shelf is None or any(len(case.candidate_items) != len(case.candidates) for case in cases):
            raise UserError("the ranker `interest-series` looks categories up; call look_at(shelf) first and give cases with item numbers")
        if any(len(case.times) != len(case.items) for case in cases):
            raise UserError("`interest-series` follows interests over time, but the log has no times; name their column")
        series = [self.series(case, shelf) for case in cases]
        told = iter(forecasts([values for one in series for values in one.values()], asker))
        found = [{name: next(told) for name in one} for one in series]
        failed = {number for number, one in enumerate(found) if None in one.values()}
        orders = []
        for case, interests in zip(cases, found, strict=True):
            kinds = [shelf.facts.categories[item] for item in case.candidate_items]
            orders.append(by_score([float(np.mean([interests.get(kind) or 0.0 for kind in own])) if own else 0.0 for own in kinds]))
        return kept_where(failed, orders, {"series": sum(map(len, series)) / max(1, len(cases)), "format error": 0.0})

    def series(self, case: RankCase, shelf: Shelf) -> dict[str, list[int]]:
        """Share of each category in each span of time, in hundredths up to 99; spans without events repeat the one before."""
        times = np.asarray(case.times, dtype=np.float64)
        if not len(times):
            return {}
        span = max(float(times[-1] - times[0]), 1e-9)
        step = np.minimum(((times - times[0]) / span * self.config.steps).astype(int), self.config.steps - 1)
        names = [name for item in case.items for name in shelf.facts.categories[item]]
        most = sorted(dict.fromkeys(names), key=lambda name: -names.count(name))[: self.config.categories]
        table = np.array([[name in shelf.facts.categories[item] for name in most] for item in case.items], dtype=np.float64)
        rows: list[np.ndarray] = []
        for number in range(self.config.steps):
            here = table[step == number]
            rows.append(here.mean(axis=0) if len(here) else rows[-1])
        shares = np.minimum(np.round(100 * np.array(rows)).astype(int), 99)
        return {name: shares[:, place].tolist() for place, name in enumerate(most)}


def as_digits(series: Sequence[int]) -> str:
    """`[5, 42]` → `0 5 , 4 2 ,`."""
    return " ".join(f"{' '.join(f'{value:02d}')} ," for value in series)


def forecasts(series: Sequence[Sequence[int]], asker: Asker) -> list[float | None]:
    """Mean of the distribution of the next number of each series, 0 … 100; None where a question failed."""
    contexts = [as_digits(values) for values in series]
    first = [None if row is None else _shares(row) for row in asker.log_likelihoods([LikelihoodQuestion(one, _DIGITS) for one in contexts])]
    likeliest = {number: int(shares.argmax()) for number, shares in enumerate(first) if shares is not None}
    behind = [LikelihoodQuestion(f"{contexts[number]} {digit}", _DIGITS) for number, digit in likeliest.items()]
    second = dict(zip(likeliest, asker.log_likelihoods(behind), strict=True))
    return [_mean(shares, second.get(number)) for number, shares in enumerate(first)]


def _mean(first: np.ndarray | None, second: Sequence[float] | None) -> float | None:
    """Of the number whose tens have the shares `first`, and whose ones behind the likeliest of them the log-likelihoods `second`."""
    if first is None or second is None:
        return None
    inside = np.full(10, 5.0)
    inside[int(first.argmax())] = float(_shares(second) @ (np.arange(10) + 0.5))
    return float(first @ (10.0 * np.arange(10) + inside))


def _shares(log_likelihoods: Sequence[float]) -> np.ndarray:
    weights = np.exp(np.asarray(log_likelihoods) - max(log_likelihoods))
    shares: np.ndarray = weights / weights.sum()
    return shares
