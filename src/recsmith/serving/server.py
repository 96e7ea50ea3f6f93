"""`Server`: the model in service, the store, and what is live between them. Speaks no HTTP; belongs to one event loop."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import orjson
from sqlalchemy import Connection, Table, select

from recsmith.errors import RecsmithError, UserError
from recsmith.recommender import load
from recsmith.run_folder import RUN
from recsmith.serving import changes
from recsmith.serving.answers import AnswerCache, Answers, Served, served_list
from recsmith.serving.batching import Batcher
from recsmith.serving.calls import Call
from recsmith.serving.changes import Heat, NewEvent
from recsmith.serving.config import ServerConfig
from recsmith.serving.generation import Generation, Question
from recsmith.serving.growth import Growth
from recsmith.serving.keys import KeyRing, RateLimit
from recsmith.serving.live import NOTHING, LiveCounts, LiveHistories, LiveHistory
from recsmith.serving.making import Ingredients, make_generation
from recsmith.serving.metrics import Metrics
from recsmith.serving.problems import Problem
from recsmith.serving.rule_reasons import Explanation, explain_item
from recsmith.serving.rule_set import NOBODY, Person, RuleSet
from recsmith.serving.rules_file import RulesFile
from recsmith.serving.store import Store, StoreUnavailableError, hash_of_user
from recsmith.serving.writer import GroupWriter

LOG = logging.getLogger("recsmith.serving")
Result = TypeVar("Result")


class Server:
    """Made by `Server.start` inside the event loop that it then belongs to."""

    def __init__(self, config: ServerConfig, run: Path, store: Store, ingredients: Ingredients, generation: Generation) -> None:
        self.config = config
        self.store = store
        self.heat = heat_of(store, config)
        self.metrics = Metrics()
        self.counts = LiveCounts(self.heat, store.counts())
        self.histories = LiveHistories(
            self._read_person, kinds=config.history_kinds, capacity=config.cache_histories, longest=config.max_history
        )
        self.writer = GroupWriter(store, self.heat, applied=self._apply, retry_after=config.retry_after)
        batcher = Batcher(max_batch=config.max_batch, max_waiting=config.max_waiting, observe=self.metrics.batch.observe)
        self.batcher = batcher
        self.answers = Answers(batcher, AnswerCache(config.cache_answers, config.cache_seconds))
        self.keys = KeyRing(store.keys())
        self.rate = RateLimit(config.rate_per_second)
        self.models_folder = config.models or run.resolve().parent
        self._forgotten = store.forgotten()
        self._ingredients = ingredients
        self._before: tuple[str, Growth] | None = None
        self._watched = [0, 0]
        self._making = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._install(generation)

    @classmethod
    def start(cls, config: ServerConfig, run: Path, store: Store, ingredients: Ingredients, generation: Generation) -> Server:
        """Take up service; call it in the event loop, with a generation that was made before."""
        return cls(config, run, store, ingredients, generation)

    async def close(self) -> None:
        """Finish what was begun, write what waits, and let go of everything."""
        for task in list(self._tasks):
            await asyncio.wait([task], timeout=5)
        await asyncio.to_thread(self.batcher.close)
        await self.writer.close()
        self.store.close()

    # ---- lists ----

    async def recommend(self, user: str, k: int, *, include_seen: bool = False, deadline_ms: int | None = None) -> Served:
        """A list for a person. The live history may be missing while the store is away; the answer then says so."""
        live, degraded = await self._live(user)
        generation = self.generation
        question = self._question(generation, user, live, k, include_seen=include_seen)
        return await self.answers.answer(
            generation,
            question,
            key=(user, k, include_seen),
            depends=(generation.number, self.revision, live.version),
            deadline=(deadline_ms or self.config.deadline_ms) / 1000,
            degraded=degraded,
        )

    async def recommend_session(
        self,
        history: Sequence[str],
        k: int,
        *,
        include_seen: bool = False,
        allow: Sequence[str] | None = None,
        deny: Sequence[str] = (),
        person: Person = NOBODY,
        deadline_ms: int | None = None,
    ) -> Served:
        """A list for somebody of whom only this history is known."""
        generation = self.generation
        choices: dict[str, Any] = {"include_seen": include_seen, "allow": allow, "deny": deny, "person": person}
        question = generation.session(k, history, **choices)
        key: Hashable = (None, k, include_seen, tuple(history), None if allow is None else tuple(allow), tuple(deny), person)
        deadline = (deadline_ms or self.config.deadline_ms) / 1000
        return await self.answers.answer(generation, question, key=key, depends=(generation.number, self.revision), deadline=deadline)

    def ranked(self, scores: np.ndarray, k: int) -> Served:
        """Items by any scores `[item]`, under the rules for somebody unknown."""
        generation = self.generation
        question = generation.session(k, [])
        return served_list(generation, *generation.ranked(scores, question), "popularity")

    async def why(self, user: str, item: str, k: int) -> Explanation:
        """What speaks for or against an item in a person's list."""
        live, _ = await self._live(user)
        generation = self.generation
        served = await self.recommend(user, k)
        question = self._question(generation, user, live, k)
        excluded = {
            "it was deleted": [name for name in [item] if generation.hidden[generation.index(name)]],
            "it is in the person's history": [generation.item_names[index] for index in question.items],
            "it was bought already": [generation.item_names[index] for index in question.deny],
        }
        rules = generation.rule_set or RuleSet(RulesFile(), generation.recommender.item_table)
        person = _person(live.attributes)
        return explain_item(rules, item, served.items, person=person, excluded=excluded, scores=served.scores)

    def record(self, served: Served, user: str | None) -> str:
        """Write down that a list is served; returns its id."""
        list_id = uuid.uuid4().hex
        self._watch(served)
        self.metrics.answers.labels(served.source).inc()
        if self.config.record_lists:
            self.writer.add_list(
                {
                    "list_id": list_id,
                    "user_id": user,
                    "model": served.model,
                    "source": served.source,
                    "items": orjson.dumps(served.items).decode(),
                    "propensities": orjson.dumps([1.0] * len(served.items)).decode(),
                    "experiment": None,
                    "time": time.time(),
                }
            )
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
        counts = await self.ask(lambda store: store.counts())
        self.counts = LiveCounts(self.heat, counts)
        self.generation.popularity = self.generation.recommender.popularity.astype(np.float32)
        self.generation.take_counts(self.counts)

    # ---- the store ----

    async def ask(self, question: Callable[[Store], Result]) -> Result:
        """Ask the store, in a thread. Raises `Problem` (503) while it is away."""
        try:
            return await asyncio.to_thread(question, self.store)
        except StoreUnavailableError as error:
            raise self.away(error) from error

    async def find(self, table: Table, column: str, value: str, *, what: str, hint: str) -> dict[str, Any]:
        """One row. Raises `Problem` (404) when there is none."""
        row = await self.ask(lambda store: store.row(select(table).where(table.c[column] == value)))
        if row is None:
            raise self.not_found(what, value, hint)
        return row

    async def change(self, call: Call, action: str, target: str | None, work: Callable[[Connection], Result]) -> Result:
        """Change the store and write into the audit who did, in one transaction."""
        key_id = None if call.key is None else call.key.key_id

        def both(connection: Connection) -> Result:
            result = work(connection)
            changes.add_audit(connection, key_id=key_id, action=action, target=target, now=time.time())
            return result

        result: Result = await self.writer.change(both)
        return result

    async def store_available(self) -> bool:
        """Whether the store answers now and its last write was kept."""
        try:
            await asyncio.to_thread(self.store.ping)
        except StoreUnavailableError:
            return False
        return True

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
            self.generation.hide(deleted)
            self.revision += 1
        if written:
            await self._remake(self.generation.name, self.generation.growth)

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
        self._ingredients.rules = rules
        await self._remake(self.generation.name, self.generation.growth)

    async def models(self) -> list[dict[str, Any]]:
        """Run folders beside each other, with the one in service marked."""
        return await asyncio.to_thread(_list_models, self.models_folder, self.generation.name)

    @property
    def previous_name(self) -> str | None:
        """What a rollback leads to."""
        return None if self._before is None else self._before[0]

    async def activate(self, call: Call, name: str) -> None:
        """Load a run beside the one in service, try it, and change over. Raises `Problem`."""
        if name not in await asyncio.to_thread(_folders, self.models_folder):
            raise self.not_found("model", name, "GET /models lists them")
        try:
            base = await asyncio.to_thread(load, self.models_folder / name)
        except RecsmithError as error:
            raise Problem("conflict", f"model `{name}` cannot be served: {error}") from None
        await self._change_over(call, "activate model", name, Growth(base))

    async def roll_back(self, call: Call | None) -> None:
        """Back to the model before. Raises `Problem` when there is none."""
        if self._before is None:
            raise Problem("conflict", "no model was in service before this one; activate one by name")
        await self._change_over(call, "roll back model", *self._before)

    async def _change_over(self, call: Call | None, action: str, name: str, growth: Growth) -> None:
        before = (self.generation.name, self.generation.growth)
        await self._remake(name, growth)
        self._before = before
        self._watched = [0, 0]
        LOG.warning("model %s is in service, before it was %s", name, before[0])
        asked = call or Call({}, None, None, None)
        await self.change(asked, action, name, lambda connection: changes.put_setting(connection, "active", {"name": name}))

    async def _remake(self, name: str, growth: Growth) -> None:
        """Make a new generation in a thread and put it into service."""
        async with self._making:
            try:
                generation = await asyncio.to_thread(make_generation, name, growth, self.store, self._ingredients)
            except StoreUnavailableError as error:
                raise self.away(error) from error
            except RecsmithError as error:
                raise Problem("conflict", f"model `{name}` cannot be served: {error}") from None
            self._install(generation)

    def _install(self, generation: Generation) -> None:
        generation.take_counts(self.counts)
        self.generation = generation
        self.revision = 0
        self.metrics.model.info({"name": generation.name})

    def _watch(self, served: Served) -> None:
        """Count the failures of a newly activated model, and take it back when there are too many."""
        if self._before is None or self._watched[0] >= self.config.guard_answers or served.model != self.generation.name:
            return
        self._watched[0] += 1
        self._watched[1] += "failure" in served.degraded
        allowed = self.config.guard_failures * self.config.guard_answers
        if self._watched[1] > allowed:
            self._watched[0] = self.config.guard_answers
            self.metrics.rollbacks.inc()
            LOG.error("model %s failed %d of its first answers; the one before comes back", served.model, self._watched[1])
            task = asyncio.create_task(self.roll_back(None))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    # ---- inside ----

    async def _live(self, user: str) -> tuple[LiveHistory, tuple[str, ...]]:
        try:
            return self.histories.at_hand(user) or await self.histories.of(user), ()
        except StoreUnavailableError as error:
            LOG.error("a history could not be read: %s", error)
            return NOTHING, ("store",)

    def _question(self, generation: Generation, user: str, live: LiveHistory, k: int, *, include_seen: bool = False) -> Question:
        index = generation.user_index(user)
        base_history = index < 0 or hash_of_user(user) not in self._forgotten
        person = _person(live.attributes)
        return generation.question(k, user=index, live=live.events, base_history=base_history, include_seen=include_seen, person=person)

    def _read_person(self, user: str) -> tuple[list[Any], dict[str, Any]]:
        return self.store.person(user, kinds=self.config.history_kinds, limit=self.config.max_history)

    def _apply(self, events: list[NewEvent], seqs: dict[str, int]) -> None:
        self.histories.apply(events, seqs)
        self.counts.apply(events)
        for event in events:
            if event.kind in self.heat.kinds:
                self.generation.count(event.item_id)

    def away(self, error: Exception) -> Problem:
        """A refusal while the store does not do what it should."""
        wait = self.config.retry_after
        detail = f"the store is not available ({error}); ask again after {wait} s"
        return Problem("store-unavailable", detail, headers={"retry-after": str(wait)})

    @staticmethod
    def not_found(what: str, name: str, hint: str) -> Problem:
        """A refusal for something that is not there."""
        return Problem("not-found", f"there is no {what} `{name}`; {hint}")


def heat_of(store: Store, config: ServerConfig) -> Heat:
    """How events count in what is trending. Counts that were made otherwise are made again from the feed."""
    kept = store.setting("heat")
    wanted = {"half_life_hours": config.half_life_hours, "kinds": sorted(set(config.history_kinds))}
    since = time.time() if kept is None else float(kept["since"])
    heat = Heat(since, config.half_life_hours, frozenset(config.history_kinds))
    if kept != {**wanted, "since": since}:
        with store.transaction() as connection:
            changes.put_setting(connection, "heat", {**wanted, "since": since})
            read = changes.rebuild_counts(connection, heat)
        LOG.warning("counted %d events of the feed", read)
    return heat


def _person(attributes: dict[str, Any]) -> Person:
    """What rules may ask about a person, as far as it was written and makes sense."""
    region, age = attributes.get("region"), attributes.get("age")
    known = isinstance(age, int | float) and not isinstance(age, bool)
    return Person(region if isinstance(region, str) else None, float(age) if known else None)  # type: ignore[arg-type]


def _folders(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _list_models(folder: Path, active: str) -> list[dict[str, Any]]:
    recipes = {name: recipe_name(folder / name) for name in _folders(folder)}
    return [{"name": name, "active": name == active, "recipe": recipe} for name, recipe in recipes.items() if recipe is not None]


def recipe_name(folder: Path) -> str | None:
    """Name of the recipe of a run folder; None when it is none that can be read."""
    from recsmith.artifacts import open_folder, read_json

    try:
        return str(read_json(open_folder(folder, RUN) / "config.json")["name"])
    except (RecsmithError, KeyError, TypeError):
        return None
