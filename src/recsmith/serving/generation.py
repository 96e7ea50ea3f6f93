"""`Generation`: one recommender in service, with everything about it that answers need again and again.

A new model, a new item or a new rule makes a new generation; the old one answers what it has begun and is then dropped.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from recsmith.data import Histories, offsets_of
from recsmith.decoding import BoundRules, Sampled, Scan, Told, faster_scan, fill_slates, top_k
from recsmith.protocols import HistoryBatch, InnerProductModel, Limits, RankedLists, SlateModel
from recsmith.recommender import Recommender
from recsmith.serving.growth import Growth
from recsmith.serving.live import LiveCounts
from recsmith.serving.rule_set import NOBODY, Person, RuleSet
from recsmith.serving.rules_file import PurchasedRule
from recsmith.serving.store import PastEvent
from recsmith.training import to_batch

_NOTHING = np.zeros(0, dtype=np.int64)
_KEPT = 256
"""Combinations of rules and hidden items that are kept."""


@dataclass(frozen=True)
class Slate:
    """What is asked of a slate besides its size."""

    wanted: float | None = None
    """Response that it shall get, 0 the worst to 1 the best; None for models that do not learn from responses."""
    seed: int | None = None
    """Draws the slate, another seed another slate; None takes the most probable."""


@dataclass(frozen=True)
class Question:
    """Who asks for what, in the indices of one generation."""

    items: np.ndarray
    """The history, oldest first, int64 `[event]`."""
    times: np.ndarray
    """Seconds since the epoch, float64 `[event]`."""
    weights: np.ndarray
    """Rating or strength, float32 `[event]`."""
    user: int
    """User index, -1 for strangers."""
    k: int
    include_seen: bool = False
    allow: np.ndarray | None = None
    """Only these items, int64; None allows all."""
    deny: np.ndarray = field(default_factory=lambda: _NOTHING)
    """None of these items, int64."""
    rules: BoundRules | None = None
    """The business's rules for who asks, with the items that are hidden from everybody."""
    slate: Slate | None = None
    """Asks for a slate, filled slot by slot where the model can; None for a list."""

    @property
    def excluded(self) -> np.ndarray:
        """Items that must not be answered."""
        return self.deny if self.include_seen else np.concatenate([self.items, self.deny])


class Generation:
    """Answers questions; not aware of requests, stores or clocks."""

    def __init__(self, name: str, number: int, recommender: Recommender, *, growth: Growth, feed_from: int = 0, how_new: str = "known"):
        """`growth` has the recommender as fitted, `feed_from` the last event of the feed that it has been fitted with."""
        self.name = name
        self.number = number
        self.recommender = recommender
        self.growth = growth
        self.base = growth.base
        self.feed_from = feed_from
        self.how_new = how_new
        """How items that came after the fit are answered; see `grow`."""
        self.item_names = [str(raw) for raw in recommender.log.items.ids.to_list()]
        self._index = {name: index for index, name in enumerate(self.item_names)}
        self.titles = recommender.titles(recommender.log.items.ids)
        self.popularity = recommender.popularity.astype(np.float32)
        self.hidden = np.zeros(len(self.item_names), dtype=bool)
        self.written: list[dict[str, Any]] = []
        """Items that were written through the API, as rows of the store."""
        self.rule_set: RuleSet | None = None
        """The business's rules."""
        self.last_item = 0
        """`number` of the last of the store's items that the generation was made with."""
        self.scan: Scan | None = None
        """Finds the best items without all scores, where `find_scan` has found that this is faster."""
        self._combined: dict[int, tuple[BoundRules | None, BoundRules]] = {}
        self._reads_times = recommender.log.histories.times is not None
        self._reads_weights = recommender.log.histories.weights is not None

    @property
    def items(self) -> int:
        """Size of the catalogue."""
        return len(self.item_names)

    def index(self, item: str) -> int:
        """Index of an item, -1 when the generation does not have it."""
        return self._index.get(item, -1)

    def user_index(self, user: str) -> int:
        """Index of a person in the run's log, -1 for strangers."""
        return self.recommender.log.users.index(user)

    def indices(self, items: Sequence[str]) -> np.ndarray:
        """Indices of those items that are known, int64."""
        found = [self._index[item] for item in items if item in self._index]
        return np.array(found, dtype=np.int64)

    def count(self, item: str) -> None:
        """One more event on an item, for what is popular."""
        index = self._index.get(item)
        if index is not None:
            self.popularity[index] += 1

    def take_counts(self, counts: LiveCounts) -> None:
        """Add all live events to what is popular in the run."""
        for item, events in counts.events.items():
            index = self._index.get(item)
            if index is not None:
                learned = self.growth.counted.get(item, 0) if index < self.base.items else 0
                self.popularity[index] += events - learned

    def hide(self, items: Sequence[str], *, hidden: bool = True) -> None:
        """Take items out of all answers, or back in."""
        changed = self.hidden.copy()
        changed[self.indices(items)] = hidden
        self.hidden = changed
        self._combined = {}

    def shows(self, item: int) -> bool:
        """Whether an item exists and is not hidden."""
        return item >= 0 and not self.hidden[item]

    def answered_by(self, item: int) -> str:
        """How an item's place in a list comes about: "model" for items that were there at the fit, else see `grow`."""
        if item < 0:
            return "nothing"
        return "model" if item < self.base.items else self.how_new

    def bound(self, person: Person, k: int, history: np.ndarray) -> BoundRules | None:
        """The rules for a person together with the hidden items; the same object for people alike, so that decoders may keep it."""
        rules = None if self.rule_set is None else self.rule_set.bound(person, k=k, history=history)
        if not self.hidden.any():
            return rules
        kept = self._combined.get(id(rules))
        if kept is None or kept[0] is not rules:
            while len(self._combined) >= _KEPT:
                del self._combined[next(iter(self._combined))]
            kept = self._combined[id(rules)] = (rules, self._without_hidden(rules))
        return kept[1]

    def _without_hidden(self, rules: BoundRules | None) -> BoundRules:
        if rules is None:
            return BoundRules(size=self.items, allowed=~self.hidden)
        allowed = ~self.hidden if rules.allowed is None else ~self.hidden & rules.allowed
        pins = {place: item for place, item in rules.pins.items() if not self.hidden[item]}
        return replace(rules, allowed=allowed, pins=pins)

    # ---- questions ----

    def repeats(self, include_seen: bool | None) -> bool:
        """Whether items of the history may be answered again: as asked for; None: as in the task that the run was fitted for."""
        return self.recommender.recipe.split.repeats_items if include_seen is None else include_seen

    def question(
        self,
        k: int,
        *,
        user: int,
        live: Sequence[PastEvent],
        base_history: bool = True,
        include_seen: bool | None = None,
        allow: Sequence[str] | None = None,
        deny: Sequence[str] = (),
        person: Person = NOBODY,
    ) -> Question:
        """A question by a person of the log (or -1) with live events behind; `base_history` False leaves the log's part out.

        For `include_seen`, see `repeats`.
        """
        log = self.recommender.log.histories
        rows = slice(0, 0)
        if user >= 0 and base_history:
            rows = slice(int(log.offsets[user]), int(log.offsets[user + 1]))
        logged = user >= 0 and base_history
        fresh = [event for event in live if event.item in self._index and not (logged and self._has_learned(event))]
        old = log.values[rows]
        times = np.zeros(len(old)) if log.times is None else log.times[rows]
        weights = np.ones(len(old), dtype=np.float32) if log.weights is None else log.weights[rows]
        if fresh:
            old = np.concatenate([old, np.array([self._index[event.item] for event in fresh], dtype=np.int64)])
            times = np.concatenate([times, np.array([event.time for event in fresh])])
            weights = np.concatenate([weights, np.array([event.value for event in fresh], dtype=np.float32)])
        denied = self.indices(deny) if deny else _NOTHING
        if self.rule_set is not None and self.rule_set.file.purchased is not None:
            denied = np.concatenate([denied, self._bought(self.rule_set.file.purchased, fresh)])
        return Question(
            items=old,
            times=times,
            weights=weights,
            user=user if user < self.recommender.trained_users and base_history else -1,
            k=k,
            include_seen=self.repeats(include_seen),
            allow=None if allow is None else self.indices(allow),
            deny=denied,
            rules=self.bound(person, min(k, self.items), old),
        )

    def _has_learned(self, event: PastEvent) -> bool:
        """Whether the run's own log has an event of somebody who is in it: items that came later are in no log."""
        return event.seq <= self.feed_from and self._index[event.item] < self.base.items

    def _bought(self, rule: PurchasedRule, events: Sequence[PastEvent]) -> np.ndarray:
        now = time.time()
        return self.indices([event.item for event in events if rule.counts(event.kind, event.time, now=now)])

    def session(self, k: int, items: Sequence[str], **choices: Any) -> Question:
        """A question by nobody in particular, with these items as history; unknown ones are left out."""
        now = time.time()
        live = [PastEvent(self.feed_from + 1, item, now, 1.0, "view") for item in items]
        return self.question(k, user=-1, live=live, **choices)

    # ---- answers ----

    @torch.inference_mode()
    def find_scan(self, rows: int = 8) -> None:
        """Answer by a scan from now on if that is faster than scoring every item, tried on some people of the log."""
        model: Any = self.recommender.model
        log = self.recommender.log.histories
        if not isinstance(model, InnerProductModel) or not len(log):
            return
        batch = to_batch(log.take(np.arange(min(rows, len(log)))), device=self.recommender.device)
        self.scan = faster_scan(model.queries(batch), *model.answer_vectors())

    def answer(self, questions: Sequence[Question]) -> list[tuple[np.ndarray, np.ndarray, str]]:
        """Item indices and scores, best first, and "model" or "popularity", of each question, in their order."""
        answers: list[tuple[np.ndarray, np.ndarray, str]] = [(_NOTHING, np.zeros(0, dtype=np.float32), "")] * len(questions)
        groups: dict[tuple[Any, ...], list[int]] = {}
        for place, question in enumerate(questions):
            alone = place if question.slate is not None and question.slate.seed is not None else -1  # what is drawn depends on the company
            groups.setdefault((min(question.k, self.items), len(question.items) > 0, question.slate, alone), []).append(place)
        for (k, known, _, _), places in groups.items():
            chosen = [questions[place] for place in places]
            lists = self._by_model(chosen, k) if known else self._by_popularity(chosen, k)
            source = "model" if known else "popularity"
            for place, items, scores in zip(places, lists.items, lists.scores, strict=True):
                found = items >= 0
                answers[place] = (items[found], scores[found], source)
        return answers

    def histories(self, questions: Sequence[Question]) -> tuple[Histories, np.ndarray]:
        """What is known about those who ask, one row each, and their user indices."""
        rows = Histories(
            np.concatenate([question.items for question in questions]),
            offsets_of(np.array([len(question.items) for question in questions], dtype=np.int64)),
            np.concatenate([question.times for question in questions]) if self._reads_times else None,
            np.concatenate([question.weights for question in questions]) if self._reads_weights else None,
        )
        return rows, np.array([question.user for question in questions], dtype=np.int64)

    def popular(self, question: Question) -> tuple[np.ndarray, np.ndarray]:
        """The answer without the model: the most popular items that the question and the rules allow."""
        lists = self._by_popularity([question], min(question.k, self.items))
        found = lists.items[0] >= 0
        return lists.items[0][found], lists.scores[0][found]

    def ranked(self, scores: np.ndarray, question: Question) -> tuple[np.ndarray, np.ndarray]:
        """The best items by any scores `[item]` that the question and the rules allow; -inf scores are left out."""
        row = torch.from_numpy(scores)[None]
        lists = top_k(row, min(question.k, self.items), limits=self._limits([question]), rules=self._rules([question]))
        found = lists.items[0] >= 0
        return lists.items[0][found], lists.scores[0][found]

    @torch.inference_mode()
    def _by_model(self, questions: Sequence[Question], k: int) -> RankedLists:
        model: Any = self.recommender.model
        rows, users = self.histories(questions)
        batch = to_batch(rows, users=users, device=self.recommender.device)
        limits, rules = self._limits(questions), self._rules(questions)
        if questions[0].slate is not None:
            return self._fill(batch, questions[0].slate, k, limits, rules)
        if self.scan is not None:
            return self.scan.top_k(model.queries(batch), k, limits=limits, rules=rules)
        return self.recommender.generate(batch, k, limits, rules, None)

    @property
    def fills_slates(self) -> bool:
        """Whether the model fills a slate slot by slot; others answer with their top list."""
        return isinstance(self.recommender.model, SlateModel)

    def _fill(self, batch: HistoryBatch, slate: Slate, k: int, limits: Limits, rules: Any, told: Told | None = None) -> RankedLists:
        model: Any = self.recommender.model
        sampled = None if slate.seed is None else Sampled(seed=slate.seed)
        if self.fills_slates:
            return fill_slates(model, batch, k, limits=limits, rules=rules, sampled=sampled, wanted=slate.wanted, told=told)
        return self.recommender.generate(batch, k, limits, rules, sampled)

    @torch.inference_mode()
    def fill_aloud(self, question: Question, told: Told) -> None:
        """Fill the slate of somebody with a history; `told` hears of each slot when it is filled (see `fill_slates`)."""
        assert question.slate is not None
        rows, users = self.histories([question])
        batch = to_batch(rows, users=users, device=self.recommender.device)
        k = min(question.k, self.items)
        self._fill(batch, question.slate, k, self._limits([question]), self._rules([question]), told)

    def _by_popularity(self, questions: Sequence[Question], k: int) -> RankedLists:
        scores = torch.from_numpy(self.popularity).expand(len(questions), -1)
        return top_k(scores, k, limits=self._limits(questions), rules=self._rules(questions))

    def _limits(self, questions: Sequence[Question]) -> Limits:
        excluded = [question.excluded for question in questions]
        offsets = offsets_of(np.array([len(row) for row in excluded], dtype=np.int64))
        return Limits(exclude=Histories(np.concatenate(excluded), offsets))

    def _rules(self, questions: Sequence[Question]) -> Any:
        """One for all where all have the same, else one for each."""
        each = [question.rules if question.allow is None else self._narrowed(question.rules, question.allow) for question in questions]
        return each[0] if all(rules is each[0] for rules in each) else each

    def _narrowed(self, rules: BoundRules | None, items: np.ndarray) -> BoundRules:
        allowed = np.zeros(self.items, dtype=bool)
        allowed[items] = True
        if rules is None:
            return BoundRules(size=self.items, allowed=allowed)
        return replace(rules, allowed=allowed if rules.allowed is None else allowed & rules.allowed)
