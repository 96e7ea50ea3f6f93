"""A newly activated model that fails is taken back without anybody's doing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from recsmith.serving.calls import Call
from recsmith.serving.config import ServerConfig
from recsmith.serving.process import Prepared, prepare
from recsmith.serving.server import Server


@pytest.fixture
def prepared(runs: Path, tmp_path: Path) -> Prepared:
    config = ServerConfig(store=f"sqlite:///{tmp_path / 'state.db'}", guard_answers=10, guard_failures=0.25)
    return prepare(config, runs / "first", make_key=False)


def broken(questions: Any) -> Any:
    raise RuntimeError("broken on purpose")


def test_the_model_before_comes_back(prepared: Prepared) -> None:
    async def work() -> None:
        server = Server.start(prepared.config, prepared.run, prepared.store, prepared.ingredients, prepared.generation)
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
        server = Server.start(prepared.config, prepared.run, prepared.store, prepared.ingredients, prepared.generation)
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
