"""`Server`: the model in service, the store, and what is live between them. Speaks no HTTP; belongs to one event loop."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from recsmith.errors import RecsmithError, UserError
from recsmith.recommender import load
from recsmith.serving import changes
from recsmith.serving.answers import AnswerCache, Answers, Served, list_row, served_list
from recsmith.serving.batching import Batcher
from recsmith.serving.calls import Call
from recsmith.serving.changes import NewEvent
from recsmith.serving.config import ServerConfig
from recsmith.serving.experiment_store import running
from recsmith.serving.experiments_file import read_experiments
from recsmith.serving.following import Follower
from recsmith.serving.generation import Generation, Question
from recsmith.serving.growth import Growth
from recsmith.serving.guard import Guard
from recsmith.serving.heat import heat_of
from recsmith.serving.keys import KeyRing
from recsmith.serving.live import NOTHING, LiveCounts, LiveHistories, LiveHistory, SharedHistories
from recsmith.serving.making import Ingredients, make_generation
from recsmith.serving.metrics import Metrics
from recsmith.serving.model_folders import list_models, model_folders
from recsmith.serving.problems import Problem
from recsmith.serving.refits import Refits
from recsmith.serving.rule_reasons import Explanation, explain_item
from recsmith.serving.rule_set import NOBODY, Person, RuleSet, person_of
from recsmith.serving.rules_file import RulesFile
from recsmith.serving.second_model import SecondModel
from recsmith.serving.sharing import share
from recsmith.serving.store import Store, StoreUnavailableError, hash_of_user
from recsmith.serving.tracing import tracing_of
from recsmith.serving.trials import SERVICE, Trials, Variant, serve
from recsmith.serving.trials_side import TrialsSide
from recsmith.serving.writer import GroupWriter

if TYPE_CHECKING:
    from recsmith.serving.searching import CatalogueSearch

LOG = logging.getLogger("recsmith.serving")


class Asked(NamedTuple):
    """A question and to whom it is put."""

    generation: Generation
    question: Question
    depends: Hashable
    """Everything that the answer depends on."""
    degraded: tuple[str, ...] = ()
    """Why less is known than should be."""


class Server(TrialsSide):
    """Made by `Prepared.start` inside the event loop that it then belongs to."""

    def __init__(self, config: ServerConfig, run: Path, store: Store, ingredients: Ingredients, generation: Generation) -> None:
        self.config = config
        self.store = store
        self.heat = heat_of(store, config)
        self.metrics = Metrics()
        self.tracing = tracing_of(config)
        self.counts = LiveCounts(self.heat, store.counts())
        self.sharing = share(config, store, lost=lambda: self.histories.clear())
        limits: dict[str, Any] = {"kinds": config.history_kinds, "capacity": config.cache_histories, "longest": config.max_history}
        shared = partial(SharedHistories, mark=self.sharing.mark) if config.shared else LiveHistories
        self.histories: LiveHistories = shared(self._read_people, **limits)
        self.writer = GroupWriter(store, self.heat, applied=self._apply, retry_after=config.retry_after)
        batcher = Batcher(
            max_batch=config.max_batch, max_waiting=config.max_waiting, observe=self.metrics.batch.observe, wait=self.tracing.wait
        )
        self.batcher = batcher
        self.guard = Guard(config, generation.name, tell=self._begin_taking_back)
        self.answers = Answers(batcher, AnswerCache(config.cache_answers, config.cache_seconds), observe=self.guard.observe)
        self.keys = KeyRing(store.keys())
        self.models_folder = config.models or run.resolve().parent
        self._started_with = run.resolve().name
        self._forgotten = store.forgotten()
        self._ingredients = ingredients
        self.before: tuple[str, Growth] | None = None
        self._guarding: asyncio.Task[None] | None = None
        self._making = asyncio.Lock()
        self.beside = ThreadPoolExecutor(1, thread_name_prefix="recsmith-beside")
        """For what asks the model many questions at once (evidence, slates that grow): one after the other, beside the answers."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self.revision = 0
        self._install(generation)
        file = read_experiments(config.experiments)
        self.second = SecondModel(config)
        self.trials = Trials(
            self.models_folder,
            store,
            ingredients,
            holdout=file.holdout,
            exploration=file.exploration,
            standing=[self.second.variant],
        )
        self._take_trials(*self.trials.open(running(store), generation))
        self.follower = Follower(self, store.last_event()) if config.shared else None
        self.refits = Refits(self, run)

    async def close(self) -> None:
        """Finish what was begun, write what waits, and let go of everything."""
        await self.refits.close()
        if self._guarding is not None:
            self._guarding.cancel()
        for task in list(self._tasks):
            await asyncio.wait([task], timeout=5)
        if self.follower is not None:
            await self.follower.close()
        await asyncio.to_thread(self.batcher.close)
        await asyncio.to_thread(self.second.close)
        self.beside.shutdown(wait=True, cancel_futures=True)
        if "search" in self.__dict__:
            await asyncio.to_thread(self.search.close)
        await self.writer.close()
        await asyncio.to_thread(self.tracing.close)
        await self.sharing.close()
        self.store.close()

    # ---- lists ----

    async def recommend(self, user: str, k: int, *, include_seen: bool | None = None, deadline_ms: int | None = None) -> Served:
        """A list for a person. The live history may be missing while the store is away; the answer then says so."""
        live, degraded = await self._live(user)
        ask = partial(self._ask, user, live, degraded, include_seen=include_seen, deadline_ms=deadline_ms)
        if self.trials.idle:
            return await ask(self.generation, SERVICE, k)
        bound = self.trials.bound(self.trials.treatment(user), self.generation)
        memory = {"seen": live.events[-1].seq if live.events else 0, "include_seen": bound.generation.repeats(include_seen)}
        return await serve(bound, k, ask, memory=memory, random=self.trials.random)

    async def _ask(
        self,
        user: str,
        live: LiveHistory,
        degraded: tuple[str, ...],
        generation: Generation,
        variant: Variant,
        k: int,
        *,
        include_seen: bool | None = None,
        deadline_ms: int | None = None,
    ) -> Served:
        """A person's list by one model under one set of rules."""
        ask = partial(self._question, user=user, live=live, k=k, include_seen=include_seen)
        asked, depends, deadline = (user, k, include_seen), (self.revision, live.version), self.seconds(deadline_ms)
        return await self._answer(generation, variant, ask, asked=asked, depends=depends, deadline=deadline, degraded=degraded)

    async def _answer(
        self,
        generation: Generation,
        variant: Variant,
        ask: Callable[[Generation], Question],
        *,
        asked: tuple[Hashable, ...],
        depends: tuple[Hashable, ...],
        deadline: float,
        degraded: tuple[str, ...] = (),
    ) -> Served:
        """What `ask` asks, by the second model where that is its business, else by `generation`; `asked` begins with the person."""
        question, began = ask(generation), time.perf_counter()
        if self.second.takes(variant, question) and not degraded:
            second = self.trials.generation(self.second.variant, generation)
            own = {"key": (*asked, self.second.variant), "depends": (second.number, *depends)}
            served = await self.second.answer(second, ask(second), **own, deadline=deadline)
            if served is not None:
                return served
            deadline -= time.perf_counter() - began
        own = {"key": (*asked, variant), "depends": (generation.number, *depends)}
        return await self.answers.answer(generation, question, **own, deadline=deadline, degraded=degraded)

    async def recommend_session(
        self,
        history: Sequence[str],
        k: int,
        *,
        include_seen: bool | None = None,
        allow: Sequence[str] | None = None,
        deny: Sequence[str] = (),
        person: Person = NOBODY,
        deadline_ms: int | None = None,
        session_id: str | None = None,
    ) -> Served:
        """A list for somebody of whom only this history is known; with a `session_id` they take part in experiments."""
        choices: dict[str, Any] = {"include_seen": include_seen, "allow": allow, "deny": deny, "person": person}
        deadline = self.seconds(deadline_ms)
        asked: Hashable = (include_seen, tuple(history), None if allow is None else tuple(allow), tuple(deny), person)

        async def ask(generation: Generation, variant: Variant, k: int) -> Served:
            question = partial(Generation.session, k=k, items=history, **choices)
            return await self._answer(generation, variant, question, asked=(None, k, asked), depends=(self.revision,), deadline=deadline)

        if session_id is None or self.trials.idle:
            return await ask(self.generation, SERVICE, k)
        treatment = replace(self.trials.treatment(session_id), exploration=None)  # histories of sessions are not kept to be asked again
        return await serve(self.trials.bound(treatment, self.generation), k, ask, memory={}, random=self.trials.random)

    @cached_property
    def search(self) -> CatalogueSearch:
        """Finds items by words; made when it is first asked for."""
        from recsmith.serving.searching import CatalogueSearch

        return CatalogueSearch(self.config.search)

    def ranked(self, scores: np.ndarray, k: int) -> Served:
        """Items by any scores `[item]`, under the rules for somebody unknown."""
        generation = self.generation
        question = generation.session(k, [])
        return served_list(generation, *generation.ranked(scores, question), "popularity")

    async def why(self, user: str, item: str, k: int) -> Explanation:
        """What speaks for or against an item in a person's list."""
        live, degraded = await self._live(user)
        variant = SERVICE if self.trials.idle else self.trials.treatment(user).variant
        generation = self.trials.generation(variant, self.generation)
        served = await self._ask(user, live, degraded, generation, variant, k)
        question = self._question(generation, user, live, k)
        excluded = {
            "it was deleted": [item] if generation.hidden[generation.index(item)] else [],
            "it is in the person's history": [] if question.include_seen else [generation.item_names[index] for index in question.items],
            "it was bought already": [generation.item_names[index] for index in question.deny],
        }
        rules = generation.rule_set or RuleSet(RulesFile(), generation.recommender.item_table)
        person = person_of(live.attributes)
        return explain_item(rules, item, served.items, person=person, excluded=excluded, scores=served.scores)

    async def asked(self, user: str, k: int = 1, *, include_seen: bool | None = None, generation: Generation | None = None) -> Asked:
        """A person's question to the model in service, or to that of an arm."""
        live, degraded = await self._live(user)
        generation = generation or self.generation
        question = self._question(generation, user, live, k, include_seen=include_seen)
        return Asked(generation, question, (generation.number, self.revision, live.version), degraded)

    def seconds(self, deadline_ms: int | None) -> float:
        """Seconds that an answer may take: what was asked for, else the server's setting."""
        return (deadline_ms or self.config.deadline_ms) / 1000

    def record(self, served: Served, user: str | None) -> str:
        """Write down that a list is served; returns its id."""
        list_id = uuid.uuid4().hex
        self.metrics.answers.labels(served.source).inc()
        if self.config.record_lists:
            self.writer.add_list(list_row(served, list_id, user, now=time.time()))
        return list_id

    # ---- people ----

    async def history(self, user: str) -> list[str]:
        """Items that answers to a person are made from, oldest first. Raises `Problem` (503) while the store is away."""
        try:
            live = await self.histories.of(user)
        except StoreUnavailableError as error:
            raise self.away(error) from error
        generation = self.generation
        question = self._question(generation, user, live, 1)
        return [generation.item_names[item] for item in question.items]

    def known_user(self, user: str) -> int:
        """Index of a person that the model was fitted with, -1 for others and for those who were forgotten."""
        if hash_of_user(user) in self._forgotten:
            return -1
        return self.generation.user_index(user)

    def is_forgotten(self, user: str) -> bool:
        """Whether the run's part of a person's history must not be looked at."""
        return hash_of_user(user) in self._forgotten

    def run_history(self, user: str) -> list[str]:
        """Items of a person's events in the run's own log."""
        index = self.known_user(user)
        generation = self.generation
        return [] if index < 0 else [generation.item_names[item] for item in generation.recommender.log.histories.row(index)]

    async def forget(self, user: str) -> None:
        """Let go of what is in memory about a person, after the store has."""
        self._forgotten.add(hash_of_user(user))
        self.histories.forget(user)
        self.answers.cache.forget(user)
        self.second.cache.forget(user)
        counts = await self.ask(lambda store: store.counts())
        self.counts = LiveCounts(self.heat, counts)
        for generation in self.generations:
            generation.popularity = generation.recommender.popularity.astype(np.float32)
            generation.take_counts(self.counts)

    async def add_events(self, events: Sequence[NewEvent]) -> dict[str, int]:
        """Keep events; when this returns they are durable and every worker's next answer knows them. Raises `Problem` (503)."""
        with self.tracing.wait("store"):
            new = await self.writer.add_events(events)
        await self.sharing.people_changed({event.user_id for event in events})
        return new

    async def people_changed(self, users: Sequence[str]) -> None:
        """What was written about people counts from now on."""
        for user in users:
            self.histories.forget(user)
        await self.sharing.people_changed(users)

    # ---- what other workers did ----

    def take_people(self, forgotten: set[str]) -> None:
        """Take the store's list of people who are to be forgotten, and let go of everything that is kept for answers."""
        self._forgotten = forgotten
        self.revision += 1
        self.histories.clear()
        self.answers.cache.clear()
        self.second.cache.clear()

    def take_rules(self, values: dict[str, Any] | None) -> bool:
        """Take the store's rules; False when they are those that were taken last."""
        if values is None or values == self._ingredients.stored:
            return False
        self._ingredients.rules, self._ingredients.stored = RulesFile.build(values, where="rules in the store"), values
        return True

    # ---- the store ----

    @property
    def shares_well(self) -> bool:
        """False while workers share the store without the Redis that they were given."""
        return self.config.redis is None or self.sharing.way == "redis"

    async def read_keys(self) -> None:
        """Take the store's keys."""
        self.keys.replace(await self.ask(lambda store: store.keys()))

    # ---- items, rules, models ----

    def require_item(self, item: str) -> None:
        """Raises `Problem` (404) for an item that the model in service does not have."""
        if self.generation.index(item) < 0:
            raise self.not_found("item", item, "write it with PUT /items/{item_id}")

    async def items_changed(self, *, written: Sequence[str] = (), deleted: Sequence[str] = ()) -> None:
        """Bring the model in service up to date with the store's items; new ones can be recommended when this returns."""
        if deleted:
            for generation in self.generations:
                generation.hide(deleted)
            self.revision += 1
        if written:
            await self.remake(self.generation.name, self.generation.growth)

    @property
    def rules(self) -> dict[str, Any]:
        """The rules in force, as tables."""
        return self._ingredients.rules.table()

    async def put_rules(self, call: Call, values: dict[str, Any]) -> None:
        """Put other rules into force. Raises `Problem` (422) naming what does not fit."""
        try:
            rules = RulesFile.build(values)
            RuleSet(rules, self.generation.recommender.item_table)
        except UserError as error:
            raise Problem("invalid", " ".join(str(error).split())[:2000]) from None
        await self.change(call, "put rules", None, lambda connection: changes.put_setting(connection, "rules", rules.table()))
        self._ingredients.rules, self._ingredients.stored = rules, await self.ask(lambda store: store.setting("rules"))
        await self.remake(self.generation.name, self.generation.growth)

    async def models(self) -> list[dict[str, Any]]:
        """Run folders beside each other, with the one in service marked."""
        return await asyncio.to_thread(list_models, self.models_folder, self.generation.name)

    @property
    def previous_name(self) -> str | None:
        """What a rollback leads to."""
        return None if self.before is None else self.before[0]

    async def activate(self, call: Call, name: str) -> None:
        """Load a run beside the one in service, try it, and change over. Raises `Problem`."""
        if name not in await asyncio.to_thread(model_folders, self.models_folder):
            raise self.not_found("model", name, "GET /models lists them")
        try:
            base = await asyncio.to_thread(load, self.models_folder / name)
        except RecsmithError as error:
            raise Problem("conflict", f"model `{name}` cannot be served: {error}") from None
        await self._change_over(call, "activate model", name, Growth(base))

    async def roll_back(self, call: Call | None, reason: str | None = None) -> None:
        """Back to the model before, by somebody or, for a `reason`, by the guard. Raises `Problem` when there is none."""
        if self.before is None:
            raise Problem("conflict", "no model was in service before this one; activate one by name")
        await self._change_over(call, "roll back model", *self.before, reason=reason, watch=False)

    async def _change_over(
        self, call: Call | None, action: str, name: str, growth: Growth, *, reason: str | None = None, watch: bool = True
    ) -> None:
        before = (self.generation.name, self.generation.growth)
        await self.remake(name, growth)
        self.before = before
        self._guard(before[0], watch=watch and before[0] != name)
        LOG.warning("model %s is in service, before it was %s", name, before[0])
        asked = call or Call({}, None, None, None)
        target = name if reason is None else f"{name}, because of {before[0]} {reason}"[:256]
        active = {"name": name, "started with": self._started_with}
        await self.change(asked, action, target, lambda connection: changes.put_setting(connection, "active", active))

    async def remake(self, name: str, growth: Growth) -> None:
        """Make a new generation in a thread and put it into service."""
        async with self._making:
            try:
                generation = await asyncio.to_thread(make_generation, name, growth, self.store, self._ingredients)
            except StoreUnavailableError as error:
                raise self.away(error) from error
            except RecsmithError as error:
                raise Problem("conflict", f"model `{name}` cannot be served: {error}") from None
            self._install(generation)
            await self._remake_arms()

    def _install(self, generation: Generation) -> None:
        generation.take_counts(self.counts)
        self.generation = generation
        self.revision += 1
        self.metrics.model.info({"name": generation.name})

    # ---- the guard ----

    def _guard(self, before: str, *, watch: bool) -> None:
        """Begin to watch the model in service, or end it."""
        if self._guarding is not None:
            self._guarding.cancel()
            self._guarding = None
        self.guard.begin(self.generation.name, before=before, now=time.time(), watch=watch)
        if watch and self.config.record_lists:
            self._guarding = asyncio.create_task(self._look_at_clicks())

    async def _look_at_clicks(self) -> None:
        while self.guard.watching and not self.guard.expired(time.time()):
            await asyncio.sleep(self.config.guard_seconds)
            try:
                reason = await asyncio.to_thread(self.guard.look, self.store, time.time())
            except StoreUnavailableError as error:
                LOG.error("the clicks could not be counted: %s", error)
                continue
            if reason is not None and self.guard.watching:
                self.guard.stop(reason)
                self._begin_taking_back(reason)
        self.guard.stop(None)

    def _begin_taking_back(self, reason: str) -> None:
        task = asyncio.create_task(self._take_back(self.generation.name, reason))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take_back(self, model: str, reason: str) -> None:
        self.metrics.rollbacks.inc()
        LOG.error("model %s is taken back: %s; the one before comes back", model, reason)
        try:
            await self.roll_back(None, reason)
        except Problem as problem:
            LOG.error("model %s could not be taken back: %s", model, problem.detail)

    # ---- inside ----

    async def _live(self, user: str) -> tuple[LiveHistory, tuple[str, ...]]:
        try:
            return self.histories.at_hand(user) or await self.histories.of(user), ()
        except StoreUnavailableError as error:
            LOG.error("a history could not be read: %s", error)
            return NOTHING, ("store",)

    def _question(self, generation: Generation, user: str, live: LiveHistory, k: int, *, include_seen: bool | None = None) -> Question:
        index = generation.user_index(user)
        base_history = index < 0 or hash_of_user(user) not in self._forgotten
        person = person_of(live.attributes)
        return generation.question(k, user=index, live=live.events, base_history=base_history, include_seen=include_seen, person=person)

    def _read_people(self, users: Sequence[str]) -> dict[str, tuple[list[Any], dict[str, Any]]]:
        return self.store.people(users, kinds=self.config.history_kinds, limit=self.config.max_history)

    def _apply(self, events: list[NewEvent], seqs: dict[str, int]) -> None:
        self.histories.apply(events, seqs)
        if self.follower is None:  # else they come with the feed, together with those of other workers
            self.count(events)

    def count(self, events: Sequence[NewEvent]) -> None:
        """Take events into what is popular and trending."""
        self.counts.apply(events)
        for event in events:
            if event.kind in self.heat.kinds:
                for generation in self.generations:
                    generation.count(event.item_id)
