"""An answer's way: kept, from the model, kept from before, popular; with a model that is slow, full or broken on purpose."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from recsmith.data import Dataset
from recsmith.fitting import fit
from recsmith.recommender import Recommender
from recsmith.serving.answers import AnswerCache, Answers, Served
from recsmith.serving.batching import Batcher
from recsmith.serving.generation import Generation
from recsmith.serving.growth import Growth
from recsmith.serving.live import LiveHistories
from recsmith.serving.store import PastEvent


@pytest.fixture(scope="module")
def recommender() -> Recommender:
    return fit("item-knn", Dataset.from_world(users=80, items=40, events=900))


def make(recommender: Recommender) -> Generation:
    return Generation("m", 1, recommender, growth=Growth(recommender))


class Disturbed(Generation):
    """A generation whose model waits for `go`, or breaks."""

    go: threading.Event | None = None
    broken = False
    sizes: list[int]

    def answer(self, questions: Any) -> Any:
        self.sizes.append(len(questions))
        if self.go is not None:
            assert self.go.wait(30)
        if self.broken:
            raise RuntimeError("broken on purpose")
        return super().answer(questions)


def disturbed(recommender: Recommender) -> Disturbed:
    generation = Disturbed("m", 1, recommender, growth=Growth(recommender))
    generation.sizes = []
    return generation


def asked(work: Callable[[Answers, Batcher], Awaitable[None]], *, max_waiting: int = 100) -> None:
    async def run() -> None:
        batcher = Batcher(max_batch=8, max_waiting=max_waiting)
        try:
            await work(Answers(batcher, AnswerCache(100, 60)), batcher)
        finally:
            batcher.close()

    asyncio.run(run())


async def ask(answers: Answers, generation: Generation, items: list[str], *, version: int = 1, deadline: float = 20.0) -> Served:
    question = generation.session(5, items)
    return await answers.answer(generation, question, key=("u", 5), depends=version, deadline=deadline)


def test_a_slow_model_falls_back_to_what_was_kept_then_to_what_is_popular(recommender: Recommender) -> None:
    generation = disturbed(recommender)
    first, second = generation.item_names[:2]

    async def work(answers: Answers, batcher: Batcher) -> None:
        generation.go = threading.Event()
        without = await ask(answers, generation, [first], deadline=0.02)
        assert (without.source, without.degraded) == ("popularity", ("deadline",))
        assert without.items == [generation.item_names[item] for item in generation.popular(generation.session(5, [first]))[0]]
        generation.go.set()
        full = await ask(answers, generation, [first])
        assert (full.source, full.degraded) == ("model", ())
        generation.go.clear()
        stale = await ask(answers, generation, [first, second], version=2, deadline=0.02)
        expected = "stale" if second not in full.items else "popularity"
        assert (stale.source, stale.degraded) == (expected, ("deadline",))
        assert second not in stale.items
        generation.go.set()

    asked(work)


def test_a_kept_answer_with_an_item_that_was_deleted_is_not_given(recommender: Recommender) -> None:
    generation = disturbed(recommender)

    async def work(answers: Answers, batcher: Batcher) -> None:
        full = await ask(answers, generation, generation.item_names[:1])
        generation.hide(full.items[:1])
        generation.broken = True
        left = await ask(answers, generation, generation.item_names[:1], version=2)
        assert (left.source, left.degraded) == ("popularity", ("failure",))
        assert full.items[0] not in left.items

    asked(work)


def test_degraded_answers_are_not_kept(recommender: Recommender) -> None:
    generation = disturbed(recommender)

    async def work(answers: Answers, batcher: Batcher) -> None:
        generation.broken = True
        assert (await ask(answers, generation, generation.item_names[:1])).degraded == ("failure",)
        generation.broken = False
        assert (await ask(answers, generation, generation.item_names[:1])).source == "model"
        assert (await ask(answers, generation, generation.item_names[:1])).source == "cache"

    asked(work)


def test_questions_that_arrive_together_are_answered_together_and_each_as_if_alone(recommender: Recommender) -> None:
    generation = disturbed(recommender)
    histories = [generation.item_names[place : place + 3] for place in range(12)]
    alone = [generation.answer([generation.session(5, history)])[0] for history in histories]
    generation.sizes.clear()

    async def work(answers: Answers, batcher: Batcher) -> None:
        generation.go = threading.Event()
        waiting = [asyncio.create_task(batcher.ask(generation, generation.session(5, history))) for history in histories]
        await asyncio.sleep(0.05)
        generation.go.set()
        for (items, scores, source), expected in zip(await asyncio.gather(*waiting), alone, strict=True):
            np.testing.assert_array_equal(items, expected[0])
            np.testing.assert_allclose(scores, expected[1], rtol=1e-5)
            assert source == "model"

    asked(work)
    assert sum(generation.sizes) == 12
    assert max(generation.sizes) == 8


def test_too_many_questions_fall_back_at_once(recommender: Recommender) -> None:
    generation = disturbed(recommender)

    async def work(answers: Answers, batcher: Batcher) -> None:
        generation.go = threading.Event()
        first = asyncio.create_task(ask(answers, generation, generation.item_names[:1]))
        while not generation.sizes:
            await asyncio.sleep(0.01)
        second = asyncio.create_task(ask(answers, generation, generation.item_names[1:2]))
        await asyncio.sleep(0.01)
        third = await ask(answers, generation, generation.item_names[2:3])
        assert (third.source, third.degraded) == ("popularity", ("overload",))
        generation.go.set()
        assert (await first).source == "model"
        assert (await second).source == "model"

    asked(work, max_waiting=1)


def test_rules_and_limits_hold_in_the_fallback_too(recommender: Recommender) -> None:
    generation = make(recommender)
    allowed = generation.item_names[:6]
    question = generation.session(5, allowed[:1], allow=allowed, deny=allowed[1:2])
    assert {generation.item_names[item] for item in generation.popular(question)[0]} <= set(allowed[2:])


def test_no_event_is_missed_while_a_history_is_read() -> None:
    from recsmith.serving.changes import NewEvent

    reading, go = threading.Event(), threading.Event()

    def read(users: Any) -> dict[str, tuple[list[PastEvent], dict[str, Any]]]:
        found = {user: ([PastEvent(1, "a", 0.0, 1.0, "view")], {}) for user in users}
        reading.set()
        assert go.wait(30)
        return found

    async def work() -> list[str]:
        histories = LiveHistories(read, kinds=["view"], capacity=1, longest=2)
        task = asyncio.create_task(histories.of("u"))
        await asyncio.to_thread(reading.wait, 30)
        for seq, item, kind in ((2, "b", "view"), (3, "c", "other"), (4, "d", "view")):
            event = NewEvent(f"e{seq}", "u", item, kind, 0.0, 1.0, None, 0.0)
            histories.apply([event], {event.event_id: seq})
        go.set()
        history = await task
        version = history.version
        histories.apply([NewEvent("e5", "u", "e", "view", 0.0, 1.0, None, 0.0)], {"e5": 5})
        assert history.version > version
        await histories.of("another")
        assert histories.at_hand("u") is None
        return [event.item for event in history.events]

    assert asyncio.run(work()) == ["d", "e"]


def histories_of(events: int, **limits: int) -> LiveHistories:
    def read(users: Any) -> dict[str, tuple[list[PastEvent], dict[str, Any]]]:
        return {user: ([PastEvent(seq, "a", 0.0, 1.0, "view") for seq in range(1, events + 1)], {}) for user in users}

    return LiveHistories(read, kinds=["view"], **limits)


def test_long_histories_leave_room_for_fewer_people() -> None:
    async def work() -> list[int]:
        sizes = []
        for events in (1, 50):
            histories = histories_of(events, capacity=10, longest=100)
            for number in range(30):
                await histories.of(f"u{number}")
            assert histories.at_hand("u29")
            sizes.append(len(histories))
            histories.forget("u29")
            histories.clear()
            assert histories._events == 0
        return sizes

    assert asyncio.run(work()) == [10, 4]


def test_who_is_forgotten_while_being_read_is_not_kept() -> None:
    async def work() -> None:
        histories = histories_of(1, capacity=10, longest=10)
        task = asyncio.create_task(histories.of("u"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # the question to the store has begun
        histories.forget("u")
        await task
        assert histories.at_hand("u") is None

    asyncio.run(work())


def test_questions_that_arrive_meanwhile_are_asked_together() -> None:
    from recsmith.serving.together import Together

    asked: list[list[int]] = []

    async def ask(keys: list[int]) -> dict[int, int]:
        asked.append(keys)
        await asyncio.sleep(0.01)
        if 13 in keys:
            raise RuntimeError("thirteen")
        return {key: key * key for key in keys}

    async def work() -> None:
        together = Together[int, int](ask, most=3)
        first = asyncio.create_task(together.of(0))
        await asyncio.sleep(0.001)
        assert await asyncio.gather(*(together.of(key) for key in (1, 2, 1, 3, 4))) == [1, 4, 1, 9, 16]
        assert await first == 0
        assert asked == [[0], [1, 2, 3], [4]]
        found = await asyncio.gather(together.of(13), together.of(5), return_exceptions=True)
        assert [str(error) for error in found] == ["thirteen", "thirteen"]
        assert await together.of(5) == 25

    asyncio.run(work())
