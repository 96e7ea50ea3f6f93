"""Slates judged by a model of how people respond to them: what is expected to be clicked, place by place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from recsmith.data import Cases
from recsmith.errors import DataError, UserError
from recsmith.evaluation.protocol import identified
from recsmith.evaluation.result import Evaluation
from recsmith.protocols import Answer

if TYPE_CHECKING:
    from recsmith.data.world import Oracle

Respond = Callable[[Cases, np.ndarray], np.ndarray]
"""Cases and slates, int64 `[case, place]` → probability of a click at each place, float `[case, place]`."""
Affinity = Callable[[Cases, np.ndarray], np.ndarray]
"""Cases and slates → logit of each item for its case, float `[case, place]`."""


def evaluate_slates(
    answer: Answer,
    cases: Cases,
    respond: Respond,
    *,
    size: int,
    split: Literal["validation", "test"],
    protocol: Mapping[str, Any],
    response_name: str,
    batch_size: int = 512,
) -> Evaluation:
    """Expected clicks on slates of `size` items under a response model (as ListCVAE is measured: Jiang et al. 2019).

    `Clicks@size` is the expected number per slate, `Click@size` the probability of at least one (clicks taken as independent unless the
    model allows at most one, where both agree), `Click-rank@size` the mean rank of a click. The result says which response model
    was believed: its figures hold under that model only. Raises `DataError` for an answer or response of another shape.
    """
    if size < 1:
        raise UserError(f"size = {size} does not work; give a number of items from 1")
    if len(cases) == 0:
        raise DataError(f"the {split} part has no cases, so nothing can be measured; give data with longer histories or another split")
    started = perf_counter()
    probabilities = np.zeros((len(cases), size))
    for start in range(0, len(cases), batch_size):
        rows = np.arange(start, min(start + batch_size, len(cases)))
        asked = cases.take(rows)
        items = answer(asked, size).items
        _require_shape(items, len(rows), size, "slates")
        clicks = respond(asked, items)
        _require_shape(clicks, len(rows), size, "click probabilities")
        if not ((clicks >= 0) & (clicks <= 1)).all():
            raise DataError(f"the response model gives probabilities from {clicks.min():g} to {clicks.max():g}; allowed: 0 to 1")
        probabilities[rows] = np.where(items >= 0, clicks, 0.0)
    expected = probabilities.sum(axis=1)
    ranks = probabilities @ np.arange(1, size + 1)
    at_most_one = expected.max() <= 1 + 1e-9
    per_case = {
        f"Clicks@{size}": expected,
        f"Click@{size}": expected if at_most_one else 1 - np.prod(1 - probabilities, axis=1),
        f"Click-rank@{size}": np.divide(ranks, expected, out=np.full(len(cases), np.nan), where=expected > 0),
    }
    described = identified({**protocol, "ranking": f"slates of {size} under the response model {response_name}"})
    metrics = {name: float(np.nanmean(values)) if not np.isnan(values).all() else float("nan") for name, values in per_case.items()}
    return Evaluation(metrics, per_case, split, described, perf_counter() - started, len(cases))


def _require_shape(array: np.ndarray, cases: int, size: int, what: str) -> None:
    if array.shape != (cases, size):
        raise DataError(f"the {what} for {cases} cases have shape {array.shape}; allowed: [{cases}, {size}]")


@dataclass(frozen=True)
class LogitResponse:
    """People read from the top, stop below each place with probability 1 - attention, and click at most one of what they read.

    Among the items read and "nothing" they choose by multinomial logit. Probabilities are exact, summed over where reading stops.
    """

    affinity: Affinity
    attention: float
    no_click: float
    """Logit of clicking nothing."""

    def __call__(self, cases: Cases, items: np.ndarray) -> np.ndarray:
        """Probability of a click at each place, float64 `[case, place]`."""
        weights = np.where(items >= 0, np.exp(self.affinity(cases, np.maximum(items, 0))), 0.0)
        size = items.shape[1]
        stops = self.attention ** np.arange(size) * np.append(np.full(size - 1, 1 - self.attention), 1.0)
        share = stops / (np.exp(self.no_click) + np.cumsum(weights, axis=1))
        return weights * np.cumsum(share[:, ::-1], axis=1)[:, ::-1]


def world_response(oracle: Oracle) -> LogitResponse:
    """How the people of the simulated world respond, by the world's own parameters; the oracle may be `aligned` with a log.

    The time is that of the last event of a history, the end of the world for empty ones.
    """
    process = oracle.process
    last_slot = process.schedule.slots - 1

    def affinity(cases: Cases, items: np.ndarray) -> np.ndarray:
        users = cases.users if oracle.users is None else np.where(cases.users < 0, -1, oracle.users[cases.users])
        listed = items if oracle.items is None else oracle.items[items]
        slot = np.full(len(cases), last_slot)
        filled = np.flatnonzero(cases.histories.lengths)
        if cases.histories.times is not None and len(filled):
            slot[filled] = process.schedule.slot_of(cases.histories.times[cases.histories.offsets[filled + 1] - 1])
        size = items.shape[1]
        clusters = process.shelf.cluster[listed.reshape(-1)]
        progress = np.repeat(process.schedule.progress(slot), size)
        return process.people.affinity(np.repeat(users, size), progress, process.shelf, clusters).reshape(items.shape)

    return LogitResponse(affinity, process.parameters.attention, process.parameters.no_click)


@dataclass(frozen=True)
class PositionResponse:
    """A click is the place being looked at times the item being liked: the position-based click model (Craswell et al. 2008)."""

    looked_at: np.ndarray
    """Probability that a place is looked at, float64 `[place]`."""
    liked: np.ndarray
    """Probability that an item is clicked when looked at, float64 `[item]`, the same for everybody."""

    def __call__(self, cases: Cases, items: np.ndarray) -> np.ndarray:
        """Probability of a click at each place; slates may be shorter than those it was fitted on."""
        if items.shape[1] > len(self.looked_at):
            raise DataError(f"slates of {items.shape[1]} are longer than the logged ones of {len(self.looked_at)}; give a smaller size")
        return np.where(items >= 0, self.looked_at[: items.shape[1]] * self.liked[np.maximum(items, 0)], 0.0)

    @classmethod
    def fit(cls, places: np.ndarray, items: np.ndarray, clicks: np.ndarray, *, item_count: int, rounds: int = 50) -> PositionResponse:
        """By expectation maximisation from a log of shown items: place from 0, item, click 0 or 1, each `[shown]`.

        Only the product of the two is identified; the first place is set to 1. An item that was never shown gets the mean. Two showings of
        every item at different places are needed for the places to come apart. Raises `DataError` for an empty log.
        """
        if not len(places) or not len(places) == len(items) == len(clicks):
            raise DataError(f"{len(places)} places, {len(items)} items and {len(clicks)} clicks do not fit; give one of each per showing")
        looked_at, liked = np.full(int(places.max()) + 1, 0.5), np.full(item_count, 0.5)
        shown_at, shown = np.bincount(places), np.bincount(items, minlength=item_count)
        clicked = clicks.astype(bool)
        for _ in range(rounds):
            looked, like = looked_at[places], liked[items]
            missed = np.maximum(1 - looked * like, 1e-12)
            looked_at = np.bincount(places, np.where(clicked, 1.0, looked * (1 - like) / missed)) / np.maximum(shown_at, 1)
            likes = np.bincount(items, np.where(clicked, 1.0, like * (1 - looked) / missed), minlength=item_count)
            liked = np.where(shown > 0, likes / np.maximum(shown, 1), 0.5)
        scale = looked_at[0] if looked_at[0] > 0 else 1.0
        known = np.minimum(liked * scale, 1.0)
        return cls(np.minimum(looked_at / scale, 1.0), np.where(shown > 0, known, known[shown > 0].mean()))
