"""Several workers on one address, one PostgreSQL and one Redis: what one learns, the other's next answer knows."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.serving.conftest import ServerProcess
from tests.serving.services import Postgres, Redis

from recsmith.errors import ConfigError
from recsmith.serving.client import Client, ClientError
from recsmith.serving.config import read_config
from recsmith.serving.problems import Problem
from recsmith.serving.sharing import RedisSharing, StoreSharing


@pytest.fixture(scope="module")
def pair(serve: Callable[..., ServerProcess], postgres: Postgres, redis: Redis, tmp_path_factory: pytest.TempPathFactory) -> ServerProcess:
    """Two workers behind one address."""
    settings = tmp_path_factory.mktemp("settings") / "serve.toml"
    settings.write_text(f'redis = "{redis.url}"\n')
    return serve("--config", str(settings), "--workers", "2", store=postgres.url)


@pytest.fixture
def both(pair: ServerProcess) -> Iterator[tuple[Client, Client]]:
    """A client of each worker: connections are kept, and made until there is one to each."""
    first = pair.client()
    first.live()
    mine = worker_of(first)
    others = []
    for _ in range(200):
        other = pair.client()
        others.append(other)
        if worker_of(other) != mine:
            break
    else:
        raise AssertionError("all connections went to one worker")
    yield first, others[-1]
    for client in [first, *others]:
        client.close()


def worker_of(client: Client) -> str:
    found = re.search(r"^recsmith_process_info{pid=\"(\d+)\"} 1", client.metrics(), re.MULTILINE)
    assert found
    return found[1]


def names(answer: dict) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def test_an_event_at_one_worker_changes_the_next_answer_of_the_other(both: tuple[Client, Client]) -> None:
    one, other = both
    for number in range(20):
        shown = names(other.recommend("crossing", k=5))
        one.add_event("crossing", shown[0], event_id=f"crossing {number}")
        assert shown[0] not in names(other.recommend("crossing", k=5))
        one, other = other, one
    assert one.ready()["sharing"] == "redis"


def test_what_an_administrator_does_at_one_worker_holds_at_the_other(pair: ServerProcess, both: tuple[Client, Client]) -> None:
    one, other = both
    gone = names(other.recommend("admin test", k=5))[0]
    one.delete_item(gone)
    assert gone not in names(other.recommend("admin test", k=5))
    one.put_item(gone, title="back")
    assert gone in names(other.recommend("admin test", k=5))
    one.put_rules(rules={"deny": [{"items": [gone]}]})
    assert gone not in names(other.recommend("admin test", k=5))
    one.put_rules(rules={})
    key = one.create_key(name="short", role="reader")
    with pair.client(key["key"]) as reader:
        reader.recommend("admin test", k=1)
    other.revoke_key(key["key_id"])
    for _ in range(8):  # new connections go to either worker
        with pair.client(key["key"]) as reader, pytest.raises(ClientError, match="revoked"):
            reader.recommend("admin test", k=1)


def test_a_model_activated_at_one_worker_comes_into_service_at_the_other(both: tuple[Client, Client]) -> None:
    one, other = both
    one.activate_model("second")
    assert within(10, lambda: other.recommend("model test", k=3)["model"] == "second")
    other.rollback_model()
    assert within(10, lambda: one.recommend("model test", k=3)["model"] == "first")


def test_the_feed_of_one_is_popular_at_the_other(both: tuple[Client, Client]) -> None:
    one, other = both
    item = names(other.popular(k=100))[-1]
    one.add_events([{"user_id": f"crowd {number}", "item_id": item, "event_id": f"crowd {number}"} for number in range(500)])
    assert within(5, lambda: names(other.popular(k=1)) == [item])


def test_a_rate_holds_for_all_workers_together(redis: Redis) -> None:
    async def work() -> int:
        store = StoreSharing(no_revision, rate=50, workers=2)
        workers = [RedisSharing(redis.url, store, identity="rates", rate=50, lost=lambda: None) for _ in range(2)]
        taken = itertools.count()
        with pytest.raises(Problem, match="this key may make 50 requests a second"):
            await use_up(workers, taken)
        for worker in workers:
            await worker.close()
        return next(taken) - 1

    began = time.monotonic()
    taken = asyncio.run(work())
    assert 97 <= taken <= 100 + 50 * (time.monotonic() - began)  # what a worker has taken for itself and not used is lost


async def use_up(workers: list[RedisSharing], taken: Iterator[int]) -> None:
    for number in taken:
        await workers[number % 2].take("key")


async def no_revision() -> int:
    return 0


def test_without_redis_answers_are_as_true_and_say_so(both: tuple[Client, Client], redis: Redis) -> None:
    one, other = both
    redis.stop()
    try:
        for number in range(6):
            shown = names(other.recommend("no redis", k=5))
            one.add_event("no redis", shown[0], event_id=f"no redis {number}")
            assert shown[0] not in names(other.recommend("no redis", k=5))
            one, other = other, one
        assert (one.ready()["status"], one.ready()["sharing"]) == ("degraded", "store")
    finally:
        redis.start()
    assert within(10, lambda: {client.recommend("no redis", k=5) and client.ready()["sharing"] for client in both} == {"redis"})
    shown = names(other.recommend("no redis", k=5))
    one.add_event("no redis", shown[0], event_id="redis again")
    assert shown[0] not in names(other.recommend("no redis", k=5))


def test_a_killed_worker_is_replaced_and_nothing_acknowledged_is_lost(pair: ServerProcess, both: tuple[Client, Client]) -> None:
    one, other = both
    one.add_event("survivor", "x", event_id="before the kill")
    os.kill(int(worker_of(one)), signal.SIGKILL)
    assert [row["event_id"] for row in other.export_user("survivor")["events"]] == ["before the kill"]
    assert within(20, lambda: len({_fresh_worker(pair) for _ in range(8)}) == 2)


def _fresh_worker(pair: ServerProcess) -> str:
    with pair.client() as client:
        return worker_of(client)


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def test_several_workers_need_a_store_that_they_can_share(tmp_path: Path) -> None:
    for given in ({"workers": 2}, {"redis": "redis://localhost"}):
        with pytest.raises(ConfigError, match=r"need a store that workers can share, not SQLite; give a store postgresql://"):
            read_config(None, given, {})
    with pytest.raises(ConfigError, match="is no address; write redis://host:6379/0"):
        read_config(None, {"redis": "localhost", "store": "postgresql://a@b/c"}, {})


def test_an_experiment_begun_at_one_worker_is_shown_by_the_other(both: tuple[Client, Client]) -> None:
    one, other = both
    one.create_experiment("pair", [{"name": "old"}, {"name": "new", "exploration": {"kind": "softmax", "candidates": 8}}], least_units=2)
    one.add_events([{"user_id": f"pair {number}", "item_id": names(one.popular(k=1))[0]} for number in range(40)])
    shown = {f"pair {number}": (other, one)[number % 2].recommend(f"pair {number}", k=2) for number in range(40)}
    for person, answer in shown.items():
        assert answer["experiments"]["pair"] in ("old", "new"), person
        other.add_event(person, names(answer)[0], kind="click", list_id=answer["list_id"])
    time.sleep(0.3)  # lists are written a moment after they are served
    found = one.experiment_results("pair")
    assert found["control"]["units"] + found["arms"][0]["units"] == 40
    assert (found["control"]["mean"], found["arms"][0]["mean"], found["lists"]) == (1, 1, 40)
    new = sum(answer["experiments"]["pair"] == "new" for answer in shown.values())
    assert other.estimate(exploration={"kind": "softmax", "candidates": 8})["lists"] == new
    assert one.guard()["figures"]["now"]["answers"] > 0
    other.stop_experiment("pair")
    assert one.recommend("pair 0", k=2)["experiments"] == {}
