"""What another policy would have brought, from the lists that explored: the history of each is put together as it was, and asked again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from recsmith.errors import UserError
from recsmith.serving.changes import HOUR
from recsmith.serving.experiment_store import answered_lists, events_of_lists, past_events
from recsmith.serving.experiments.exploration import Exploration, first_place, propensities
from recsmith.serving.experiments.off_policy import Estimate, LoggedActions, doubly_robust, ips, snips
from recsmith.serving.generation import Generation, Question
from recsmith.serving.store import PastEvent, Store

Scope = Literal["first", "list"]
_BATCH = 64
_FOLDS = 2
_PRIOR = 20.0
"""Lists that the mean reward counts for in the reward of an item."""


@dataclass(frozen=True)
class Target:
    """A policy in question."""

    exploration: Exploration
    scope: Scope
    """first: what is shown in the first place, and its reward; list: the whole list in its order, and any reward."""
    kinds: tuple[str, ...]
    within_hours: float
    clip: float | None
    alpha: float
    since: float
    most: int


@dataclass(frozen=True)
class Logged:
    """One list that explored."""

    user: str
    items: list[str]
    propensities: list[float]
    rewards: list[float]
    """Per place, 0 or 1."""
    seen: int
    """The last event of the person that the list knew of."""
    include_seen: bool


def logged_lists(store: Store, target: Target) -> list[Logged]:
    """The latest lists that explored, with what came of them; those by popularity, which was another one then, are left out."""
    rows = answered_lists(store, "exploration", since=target.since, most=target.most)
    rows = [row for row in rows if row["source"] in ("model", "cache")]
    times = {row["list_id"]: row["time"] for row in rows}
    rewarded: set[tuple[str, str]] = set()
    for event in events_of_lists(store, list(times), target.kinds):
        if event["time"] < times[event["list_id"]] + HOUR * target.within_hours:
            rewarded.add((event["list_id"], event["item_id"]))
    return [
        Logged(
            row["user_id"],
            row["items"],
            row["propensities"],
            [float((row["list_id"], item) in rewarded) for item in row["items"]],
            row["experiment"]["exploration"]["seen"],
            row["experiment"]["exploration"]["include_seen"],
        )
        for row in rows
    ]


class Asker:
    """Asks a generation what it would have answered then."""

    def __init__(
        self, generation: Generation, store: Store, *, kinds: Sequence[str], longest: int, forgotten: Callable[[str], bool]
    ) -> None:
        """`forgotten(user)` says whether the run's part of a person's history must not be looked at."""
        self._generation, self._store = generation, store
        self._kinds, self._longest, self._forgotten = kinds, longest, forgotten

    def pools(self, logged: Sequence[Logged], target: Target) -> list[tuple[np.ndarray, np.ndarray]]:
        """Candidates and their scores, best first, for each list."""
        past = past_events(self._store, sorted({row.user for row in logged}), self._kinds)
        questions = [self._question(row, past[row.user], target) for row in logged]
        found: list[tuple[np.ndarray, np.ndarray]] = []
        for start in range(0, len(questions), _BATCH):
            found += [(items, scores) for items, scores, _ in self._generation.answer(questions[start : start + _BATCH])]
        return found

    def _question(self, row: Logged, events: list[PastEvent], target: Target) -> Question:
        live = [event for event in events if event.seq <= row.seen][-self._longest :]
        certain = target.exploration.kind == "none"
        k = len(row.items) if certain else max(len(row.items), target.exploration.candidates)
        user = self._generation.user_index(row.user)
        base = user < 0 or not self._forgotten(row.user)
        return self._generation.question(k, user=user, live=live, base_history=base, include_seen=row.include_seen)


def estimate(logged: Sequence[Logged], asker: Asker, generation: Generation, target: Target) -> dict[str, Any]:
    """IPS, SNIPS and DR of the target's reward per list. Runs in a thread; raises `UserError` when the log says too little."""
    if len(logged) < 2:
        raise UserError(f"{len(logged)} lists have explored in this time; let arms or the server explore, and ask again later")
    pools = asker.pools(logged, target)
    first = target.scope == "first"
    shown = [np.array([generation.index(item) for item in (row.items[:1] if first else row.items)], dtype=np.int64) for row in logged]
    log = LoggedActions(
        rewards=np.array([row.rewards[0] if first else max(row.rewards) for row in logged]),
        logged=np.array([float(np.prod(row.propensities[:1] if first else row.propensities)) for row in logged]),
        target=np.array([_probability(pool, items, target.exploration) for pool, items in zip(pools, shown, strict=True)]),
        units=np.array([row.user for row in logged]),
    )
    served, wanted = _rewards_by_item(log, pools, shown, target) if first else _rewards_by_mean(log)
    options: dict[str, Any] = {"clip": target.clip, "alpha": target.alpha}
    estimates = [ips(log, **options), doubly_robust(log, served, wanted, **options)]
    if log.target.any():  # else nothing can be normalised: the warnings of the others say that the policy is too far away
        estimates.insert(1, snips(log, **options))
    return {
        "model": generation.name,
        "scope": target.scope,
        "lists": len(logged),
        "people": len({row.user for row in logged}),
        "served": float(log.rewards.mean()),
        "estimates": [_document(one) for one in estimates],
    }


def _probability(pool: tuple[np.ndarray, np.ndarray], shown: np.ndarray, exploration: Exploration) -> float:
    items, scores = pool
    if len(shown) > len(items) or (shown < 0).any():
        return 0.0
    settings = exploration if exploration.candidates >= len(shown) else exploration.override(candidates=len(shown))
    return float(np.prod(propensities(items, scores, shown, settings)))


def _rewards_by_item(
    log: LoggedActions, pools: Sequence[tuple[np.ndarray, np.ndarray]], shown: Sequence[np.ndarray], target: Target
) -> tuple[np.ndarray, np.ndarray]:
    """Mean reward of each item, shrunk to that of all, learned from other people than those whom it is used for."""
    served, wanted = np.zeros(len(shown)), np.zeros(len(shown))
    chances = [first_place(scores, target.exploration) for _, scores in pools]
    actions = np.array([int(items[0]) for items in shown])
    size = 1 + max(int(actions.max()), *(int(items.max(initial=-1)) for items, _ in pools))
    folds = _folds(log)
    for fold in range(_FOLDS):
        learn = (folds != fold) & (actions >= 0)
        mean = float(log.rewards[folds != fold].mean()) if (folds != fold).any() else float(log.rewards.mean())
        sums = np.bincount(actions[learn], weights=log.rewards[learn], minlength=size)
        counts = np.bincount(actions[learn], minlength=size)
        rate = (sums + _PRIOR * mean) / (counts + _PRIOR)
        for row in np.flatnonzero(folds == fold).tolist():
            served[row] = rate[actions[row]] if actions[row] >= 0 else mean
            wanted[row] = float((chances[row] * rate[pools[row][0]]).sum()) if len(pools[row][0]) else mean
    return served, wanted


def _rewards_by_mean(log: LoggedActions) -> tuple[np.ndarray, np.ndarray]:
    """The mean reward of other people's lists: all that is known of a list which nobody has seen."""
    folds = _folds(log)
    means = np.array([log.rewards[folds != fold].mean() if (folds != fold).any() else log.rewards.mean() for fold in range(_FOLDS)])
    return means[folds], means[folds]


def _folds(log: LoggedActions) -> np.ndarray:
    """Which half of the people a row belongs to, int64 `[row]`."""
    assert log.units is not None
    _, person = np.unique(log.units, return_inverse=True)
    return np.asarray(person % _FOLDS, dtype=np.int64)


def _document(found: Estimate) -> dict[str, Any]:
    return {**asdict(found), "warnings": list(found.warnings)}
