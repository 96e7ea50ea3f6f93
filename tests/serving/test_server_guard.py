"""A newly activated model that fails is taken back without anybody's doing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsmith.serving.answers import Served
from recsmith.serving.calls import Call
from recsmith.serving.config import ServerConfig
from recsmith.serving.experiment_store import Clicks
from recsmith.serving.guard import Guard, fewer_clicks
from recsmith.serving.process import Prepared, prepare


@pytest.fixture
def prepared(runs: Path, tmp_path: Path) -> Prepared:
    config = ServerConfig(store=f"sqlite:///{tmp_path / 'state.db'}", guard_answers=10, guard_failures=0.25)
    return prepare(config, runs / "first", make_key=False)


def broken(questions: Any) -> Any:
    raise RuntimeError("broken on purpose")


def test_the_model_before_comes_back(prepared: Prepared) -> None:
    async def work() -> None:
        server = prepared.start()
        await server.activate(Call({}, None, None, None), "second")
        server.generation.answer = broken  # type: ignore[method-assign]
        for number in range(3):
            served = await server.recommend(f"stranger {number}", 3)
            assert (served.model, served.degraded) == ("second", ("failure",))
            server.record(served, None)
        await asyncio.gather(*server._tasks)
        assert server.generation.name == "first"
        assert (await server.recommend("stranger", 3)).degraded == ()
        assert server.store.setting("active")["name"] == "first"
        assert [row["action"] for row in server.store.audit(after=0, limit=9)] == ["activate model", "roll back model"]
        await server.close()

    asyncio.run(work())


def test_a_few_failures_are_forgiven(prepared: Prepared) -> None:
    async def work() -> None:
        server = prepared.start()
        await server.activate(Call({}, None, None, None), "second")
        well = server.generation.answer
        for number in range(10):
            server.generation.answer = broken if number < 2 else well  # type: ignore[method-assign]
            server.record(await server.recommend(f"stranger {number}", 3), None)
        server.generation.answer = broken  # type: ignore[method-assign]
        for number in range(5):  # beyond the first answers, which are watched
            server.record(await server.recommend(f"later {number}", 3), None)
        assert server.generation.name == "second"
        await server.close()

    asyncio.run(work())


# ---- what is compared -----------------------------------------------------------------------------------------------------


def watching(before: list[tuple[str, float]], now: list[tuple[str, float]]) -> tuple[Guard, list[str]]:
    """A guard that has seen these answers, each with why it is degraded and the seconds that it took, and what it said."""
    said: list[str] = []
    guard = Guard(ServerConfig(guard_answers=40), "old", tell=said.append)
    for model, answers in (("old", before), ("new", now)):
        if model == "new":
            guard.begin("new", before="old", now=0.0, watch=True)
        for degraded, seconds in answers:
            guard.observe(Served([], [], [], model, "model", (degraded,) if degraded else ()), seconds)
    return guard, said


@pytest.mark.parametrize(
    ("before", "now", "says"),
    [
        ([("", 0.01)] * 40, [("", 0.02)] * 40, None),
        ([("", 0.01)] * 40, [("", 0.2)] * 40, "the 95th percentile of its answers is 200 ms, before it was 10 ms"),
        ([("", 0.1)] * 40, [("", 0.2)] * 40, None),
        ([("", 0.01)] * 40, [("deadline", 0.01), ("", 0.01)] * 20, "50.0% of its first answers fell back, before it were 0.0%"),
        ([("overload", 0.01), ("", 0.01)] * 20, [("deadline", 0.01), ("", 0.01)] * 20, None),
        ([("", 0.01)] * 40, [("failure", 0.01)] * 3, "3 of its first 3 answers failed"),
        ([("", 0.01)] * 40, [("", 0.01)] * 40 + [("failure", 0.01)] * 40, None),
    ],
)
def test_first_answers_are_held_against_the_model_before(before: list, now: list, says: str | None) -> None:
    guard, said = watching(before, now)
    assert said == ([] if says is None else [says])
    assert guard.verdict == says
    assert guard.watching is (says is None)


def test_equal_models_keep_their_place_however_often_one_looks() -> None:
    random = np.random.default_rng(0)
    taken = 0
    for _ in range(60):
        old, new = ([Clicks(lists, int(random.binomial(lists, 0.2))) for lists in random.integers(1, 6, 1500)] for _ in range(2))
        taken += any(fewer_clicks(old, new[:people], people=200, drop=0.0) is not None for people in range(200, 1501, 250))
    assert taken <= 3  # at most one in a hundred is meant, over all looks
    worse = [Clicks(lists, int(random.binomial(lists, 0.1))) for lists in random.integers(1, 6, 1500)]
    assert "of its lists led to something, before it were" in (fewer_clicks(old, worse, people=200, drop=0.1) or "")
    assert fewer_clicks(old, worse, people=200, drop=0.9) is None
    assert fewer_clicks(old, worse[:199], people=200, drop=0.1) is None
