"""People of whom little is known go to a second model, within its budget; what it cannot answer, the model in service does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from recsmith.errors import UserError
from recsmith.serving.config import ServerConfig
from recsmith.serving.process import prepare
from recsmith.serving.second_model import SecondModel
from recsmith.serving.server import Server

ITEMS = ["i00001", "i00002", "i00003", "i00004"]


def with_server(runs: Path, folder: Path, work: Callable[[Server], Awaitable[None]], **second: Any) -> None:
    settings = {"model": "second", "at_most_events": 2, **second}
    config = ServerConfig.parse({"store": f"sqlite:///{folder / 'state.db'}", "second_model": settings})

    async def run() -> None:
        server = prepare(config, runs / "first", make_key=False).start()
        try:
            await work(server)
        finally:
            await server.close()

    asyncio.run(run())


def broken(questions: Any) -> Any:
    raise RuntimeError("broken on purpose")


def second_generation(server: Server) -> Any:
    return server.trials.generation(server.second.variant, server.generation)


def test_short_histories_go_to_it(runs: Path, tmp_path: Path) -> None:
    async def work(server: Server) -> None:
        for length, model in ((0, "first"), (1, "second"), (2, "second"), (3, "first")):
            served = await server.recommend_session(ITEMS[:length], 3)
            assert (served.model, served.degraded) == (model, ())
        known = server.generation.recommender.log.users.ids[0]
        assert (await server.recommend(known, 3)).model == "first"  # everybody of the log has five events at least

    with_server(runs, tmp_path, work)


def test_its_budget_is_kept_and_known_answers_cost_nothing(runs: Path, tmp_path: Path) -> None:
    async def work(server: Server) -> None:
        first = await server.recommend_session(ITEMS[:1], 3)
        other = await server.recommend_session(ITEMS[1:2], 3)
        again = await server.recommend_session(ITEMS[:1], 3)
        assert [served.model for served in (first, other, again)] == ["second", "first", "second"]
        assert (again.source, again.items) == ("cache", first.items)

    with_server(runs, tmp_path, work, per_minute=1)


def test_the_budget_grows_with_time() -> None:
    now = [0.0]
    second = SecondModel(ServerConfig.parse({"second_model": {"model": "second", "per_minute": 2}}), clock=lambda: now[0])
    given = []
    for seconds in (0, 0, 0, 29, 1, 600, 0, 0):
        now[0] += seconds
        given.append(second._budget.take() == 0)
    assert given == [True, True, False, False, True, True, True, False]  # unused ones are kept for a minute, not longer
    second.close()


def test_when_it_breaks_or_is_late_the_model_in_service_answers(runs: Path, tmp_path: Path) -> None:
    async def work(server: Server) -> None:
        second_generation(server).answer = broken
        served = await server.recommend_session(ITEMS[:1], 3)
        assert (served.model, served.source, served.degraded) == ("first", "model", ())

    with_server(runs, tmp_path, work)


def test_it_follows_what_happens_to_items(runs: Path, tmp_path: Path) -> None:
    async def work(server: Server) -> None:
        gone = (await server.recommend_session(ITEMS[:1], 3)).items[0]
        await server.items_changed(deleted=[gone])
        served = await server.recommend_session(ITEMS[:1], 3)
        assert served.model == "second"
        assert gone not in served.items

    with_server(runs, tmp_path, work)


def test_a_model_that_is_not_there(runs: Path, tmp_path: Path) -> None:
    async def work(server: Server) -> None:
        raise AssertionError("it started")

    with pytest.raises(UserError, match="there is no model `nothing`; GET /models lists them"):
        with_server(runs, tmp_path, work, model="nothing")
