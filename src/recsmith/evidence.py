"""Evidence from the model: which events of a history carry an item, and which codes it came by.

Each event is left out once, and the model is asked for the item again (leave-one-out, the exact form of the occlusion of Zeiler and
Fergus, 2014): what the score loses is what the event gives. That is true of any model, needs no gradient and no attention weights, and is
what the model does, not a story about it. Two events that say the same thing each get little, because the other one stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from recsmith.data import Histories, RawId
from recsmith.decoding import CodeTrie, all_scores, score_items, score_levels
from recsmith.errors import UserError
from recsmith.training import to_batch

_SCORES_AT_ONCE = 1 << 24  # 64 MB
_ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class EventEvidence:
    """What one event of the history gives to an item."""

    position: int
    """Place in the history, from 1, the oldest first."""
    item_id: RawId
    title: str | None
    change: float | None
    """Score with the event minus score without it: above 0 the event speaks for the item. None when there is no history without it."""
    rank_without: int | None
    """Place of the item without the event; None where the rank is not known."""


@dataclass(frozen=True)
class CodeEvidence:
    """One step in which a model generates an item."""

    level: int
    """From 1."""
    code: int
    log_probability: float
    """Of the code, given those before it; they add up to the item's log-probability."""


@dataclass(frozen=True)
class Evidence:
    """What an item's place in a list was made from."""

    item_id: RawId
    title: str | None
    measure: Literal["score", "log-probability"]
    """What `score` and the changes are."""
    score: float | None
    """None for an item that the model gives no score."""
    rank: int | None
    """Place among the whole catalogue, before any limit; None for models that generate, which do not rank the catalogue."""
    events: tuple[EventEvidence, ...]
    """What speaks most for the item first; only the last events of a long history were left out in turn."""
    codes: tuple[CodeEvidence, ...]
    """Empty for models without item codes in their answers."""

    def named(self, names: Callable[[int], RawId], titles: Callable[[int], str | None]) -> Evidence:
        """The same with ids and titles in place of item indices."""
        events = tuple(replace(event, item_id=names(int(event.item_id)), title=titles(int(event.item_id))) for event in self.events)
        return replace(self, item_id=names(int(self.item_id)), title=titles(int(self.item_id)), events=events)


@dataclass(frozen=True)
class Judge:
    """Asks a model about one item."""

    model: Any
    device: torch.device | str
    items: int
    trie: CodeTrie | None = None
    """The codes of the catalogue, for models that generate."""

    @torch.inference_mode()
    def __call__(self, histories: Histories, user: int, item: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Score of the item after each history, float64 `[row]`, and its place in the catalogue, int64 `[row]`, where it is known."""
        size = _ROWS_AT_ONCE if self.trie is not None else max(1, min(_ROWS_AT_ONCE, _SCORES_AT_ONCE // self.items))
        parts = [self._part(histories.slice(start, start + size), user, item) for start in range(0, len(histories), size)]
        scores = np.concatenate([scores for scores, _ in parts])
        if self.trie is not None:
            return scores, None
        return scores, np.concatenate([ranks for _, ranks in parts if ranks is not None])

    @torch.inference_mode()
    def levels(self, history: Histories, user: int, item: int) -> np.ndarray:
        """Log-probability of each code of the item, float64 `[level]`; empty for a model that scores."""
        if self.trie is None:
            return np.zeros(0)
        found = score_levels(self.model, self._batch(history, user), self.trie, self._asked(1, item))
        return found[0, 0].double().cpu().numpy()

    def _part(self, rows: Histories, user: int, item: int) -> tuple[np.ndarray, np.ndarray | None]:
        batch = self._batch(rows, user)
        if self.trie is not None:
            found = score_items(self.model, batch, self.trie, self._asked(len(rows), item))
            return found[:, 0].double().cpu().numpy(), None
        scores = all_scores(self.model, batch)
        own = scores[:, item]
        ranks = 1 + (scores > own[:, None]).sum(dim=1)
        return own.double().cpu().numpy(), ranks.cpu().numpy()

    def _batch(self, rows: Histories, user: int) -> Any:
        return to_batch(rows, users=np.full(len(rows), user, dtype=np.int64), device=self.device)

    def _asked(self, rows: int, item: int) -> Tensor:
        return torch.full((rows, 1), item, dtype=torch.int64, device=self.device)


def find_evidence(judge: Judge, history: Histories, user: int, item: int, *, last: int = 50) -> Evidence:
    """What carries `item` (an index) for the one row of `history`, with item indices in place of ids and without titles.

    Each of the `last` events is left out in turn: as many passes of the model as events. Raises `UserError` for an empty history, which
    the model is not asked about, and for a `last` below 1.
    """
    events = len(history.values)
    if not events:
        raise UserError("nothing is known about this person, so the item comes from popularity and no event carries it; give a history")
    if last < 1:
        raise UserError(f"last = {last} events cannot be left out in turn; give at least 1")
    places = np.arange(max(0, events - last), events)
    whole, whole_rank = judge(history, user, item)
    without, ranks = (np.full(1, np.nan), None) if events == 1 else judge(_each_left_out(history, places), user, item)
    changes = whole[0] - without
    order = np.argsort(np.where(np.isfinite(changes), -changes, np.inf), kind="stable")
    found = [
        EventEvidence(
            position=int(places[row]) + 1,
            item_id=int(history.values[places[row]]),
            title=None,
            change=_finite(changes[row]),
            rank_without=None if ranks is None else int(ranks[row]),
        )
        for row in order
    ]
    return Evidence(
        item_id=item,
        title=None,
        measure="score" if judge.trie is None else "log-probability",
        score=_finite(whole[0]),
        rank=None if whole_rank is None else int(whole_rank[0]),
        events=tuple(found),
        codes=_codes(judge, history, user, item),
    )


def _each_left_out(history: Histories, places: Sequence[int] | np.ndarray) -> Histories:
    """The history once for each place, without the event there."""
    events = len(history.values)
    keep = np.ones((len(places), events), dtype=bool)
    keep[np.arange(len(places)), places] = False
    return history.take(np.zeros(len(places), dtype=np.int64)).where(keep.reshape(-1))


def _codes(judge: Judge, history: Histories, user: int, item: int) -> tuple[CodeEvidence, ...]:
    if judge.trie is None:
        return ()
    leaf = judge.trie.leaves_of[item]
    codes = [int(judge.trie.codes[depth][judge.trie.ancestors(depth, leaf)]) for depth in range(1, judge.trie.levels + 1)]
    logs = judge.levels(history, user, item).tolist()
    return tuple(CodeEvidence(level, code, log) for level, (code, log) in enumerate(zip(codes, logs, strict=True), start=1))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
