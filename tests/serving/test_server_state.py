"""What the server keeps: events that are written once and survive, people, items, and what becomes of them."""

from __future__ import annotations

import asyncio
import random
import resource
import shutil
import threading
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

import pytest
from tests.serving.conftest import ServerProcess

from recsmith.serving.calls import Call
from recsmith.serving.changes import rebuild_counts
from recsmith.serving.client import Client, ClientError
from recsmith.serving.config import ServerConfig
from recsmith.serving.heat import heat_of
from recsmith.serving.process import prepare
from recsmith.serving.store import Store


def names(answer: dict) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def test_an_event_sent_twice_counts_once(client: Client) -> None:
    event = {"user_id": "twice", "item_id": "i", "event_id": "twice 1"}
    assert client.add_event(**event) == {"accepted": 1, "duplicates": 0}
    assert client.add_event(**event) == {"accepted": 0, "duplicates": 1}
    batch = [event, {**event, "event_id": "twice 2"}, {**event, "event_id": "twice 2"}]
    assert client.add_events(batch) == {"accepted": 1, "duplicates": 2}
    assert [row["event_id"] for row in client.export_user("twice")["events"]] == ["twice 1", "twice 2"]


def test_a_batch_is_taken_whole_or_not_at_all(client: Client) -> None:
    with pytest.raises(ClientError, match=r"`events\.1\.item_id`"):
        client.add_events([{"user_id": "whole", "item_id": "i"}, {"user_id": "whole"}])
    assert client.export_user("whole")["events"] == []


def test_numbers_and_their_digits_are_the_same_id(client: Client) -> None:
    client.add_event(4711, 12)
    assert client.export_user("4711")["events"][0]["item_id"] == "12"


def test_the_feed_is_in_the_order_of_the_acknowledgements(client: Client) -> None:
    start = client.feed(after=0, limit=1000)["events"]
    last = start[-1]["seq"] if start else 0
    for number in range(3):
        client.add_event("feeder", f"f{number}")
    page = client.feed(after=last, limit=2)["events"]
    assert [row["item_id"] for row in page] == ["f0", "f1"]
    assert page[0]["seq"] < page[1]["seq"]


def test_concurrent_single_events_share_their_commits(server: ServerProcess) -> None:
    def send(number: int) -> None:
        with server.client() as client:
            for place in range(20):
                client.add_event(f"crowd {number}", f"c{place}", event_id=f"crowd {number} {place}")

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with server.client() as client:
        for number in range(8):
            assert [row["item_id"] for row in client.export_user(f"crowd {number}")["events"]] == [f"c{place}" for place in range(20)]


def test_people(client: Client) -> None:
    with pytest.raises(ClientError, match="no user `anna`") as refusal:
        client.get_user("anna")
    assert refusal.value.status == 404
    assert client.put_user("anna", attributes={"age": 34}) == {"user_id": "anna", "attributes": {"age": 34}, "trained": False}
    assert client.put_users([{"user_id": "anna", "attributes": {"age": 35}}, {"user_id": "bert"}]) == {"written": 2}
    assert client.get_user("anna")["attributes"] == {"age": 35}
    assert [row["user_id"] for row in client.list_users(after="ann", limit=2)["users"]] == ["anna", "bert"]


def test_everything_about_a_person_can_be_had_and_deleted(server: ServerProcess, client: Client) -> None:
    item = names(client.popular(k=1))[0]
    client.put_user("leaver", attributes={"region": "north"})
    client.add_event("leaver", item, kind="purchase")
    shown = client.recommend("leaver", k=3)
    client.put_user("somebody else")
    held = client.export_user("leaver")
    assert held["attributes"] == {"region": "north"}
    assert [row["kind"] for row in held["events"]] == ["purchase"]
    assert [row["list_id"] for row in held["lists"]] == [shown["list_id"]]
    gone = client.forget_user("leaver")
    assert gone == {"events": 1, "lists": 1, "users": 1, "in_model": False}
    left = client.export_user("leaver")
    assert (left["attributes"], left["events"], left["lists"]) == (None, [], [])
    assert client.recommend("leaver", k=3)["source"] == "popularity"
    assert "leaver" not in str(client.audit(limit=1000))
    assert "leaver" not in server.log()


def test_a_forgotten_person_of_the_run_is_a_stranger(client: Client) -> None:
    client.recommend("u00017")
    held = client.export_user("u00017")
    assert held["run_history"]
    assert client.forget_user("u00017")["in_model"] is True
    assert client.user_history("u00017")["items"] == []
    assert client.export_user("u00017")["run_history"] == []
    assert client.recommend("u00017")["source"] == "popularity"


def test_trending_follows_events_and_forgets_old_ones(client: Client) -> None:
    first, second = names(client.popular(k=2))
    month = 30 * 86_400
    now = client.add_event("t", first) and client.export_user("t")["events"][0]["received"]
    client.add_events([{"user_id": "t", "item_id": first, "time": now - month} for _ in range(30)])
    client.add_events([{"user_id": "t", "item_id": second} for _ in range(20)])
    assert names(client.trending(k=1)) == [second]


def whole_feed(client: Client) -> list[dict]:
    rows: list[dict] = []
    while page := client.feed(after=rows[-1]["seq"] if rows else 0, limit=1000)["events"]:
        rows += page
    return rows


# ---- crashes --------------------------------------------------------------------------------------------------------------


def test_no_acknowledged_event_is_lost_or_doubled_by_kill_9(serve: Callable[..., ServerProcess]) -> None:
    server = serve()
    acknowledged: list[str] = []
    sent: list[str] = []
    chance = random.Random(7)
    for cycle in range(5):
        stop = threading.Event()
        threads = [threading.Thread(target=_write, args=(server, f"{cycle} {number}", stop, sent, acknowledged)) for number in range(4)]
        for thread in threads:
            thread.start()
        stop.wait(chance.uniform(0.1, 0.5))
        server.kill()
        stop.set()
        for thread in threads:
            thread.join()
        server.start(server.port)
    with server.client() as client:
        assert client.ready() == {"status": "ready", "model": "first", "store": "available"}
        kept = [row["event_id"] for row in whole_feed(client)]
        assert len(acknowledged) > 50
        assert len(kept) == len(set(kept))
        assert set(acknowledged) <= set(kept) <= set(sent)
        again = client.add_events([{"user_id": "u", "item_id": "i", "event_id": name} for name in acknowledged[:500]])
        assert again == {"accepted": 0, "duplicates": len(acknowledged[:500])}


def _write(server: ServerProcess, name: str, stop: threading.Event, sent: list[str], acknowledged: list[str]) -> None:
    number = 0
    try:
        with server.client(timeout=5) as client:
            while not stop.is_set():
                ids = [f"{name} {number} {place}" for place in range(5)]
                sent.extend(ids)
                client.add_events([{"user_id": name, "item_id": "i", "event_id": event} for event in ids])
                acknowledged.extend(ids)
                number += 1
    except (OSError, ClientError, ValueError, HTTPException):
        return  # the server went away in the middle


def test_a_full_disk_refuses_events_and_answers_go_on(serve: Callable[..., ServerProcess]) -> None:
    def little_space() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))

    server = serve(prepare=little_space)
    with server.client() as client:
        accepted: list[int] = []
        with pytest.raises(ClientError, match="the store is not available") as refusal:
            _fill(client, accepted)
        assert (refusal.value.status, refusal.value.retry_after) == (503, 2.0)
        assert len(client.recommend("u00002", k=5)["items"]) == 5
    server.kill()
    server.prepare = None
    server.start()
    with server.client() as client:
        assert len(whole_feed(client)) == sum(accepted)
        assert client.add_event("x", "y") == {"accepted": 1, "duplicates": 0}


def _fill(client: Client, accepted: list[int]) -> None:
    for number in range(200):
        batch = [{"user_id": "x" * 200, "item_id": "y" * 200, "event_id": f"{number} {place}"} for place in range(100)]
        accepted.append(client.add_events(batch)["accepted"])


def test_what_is_left_after_a_stop_and_a_start(serve: Callable[..., ServerProcess]) -> None:
    server = serve()
    with server.client() as client:
        gone = names(client.popular(k=1))[0]
        client.put_items([{"item_id": "new 1", "title": "Something"}, {"item_id": "new 2", "title": "Something else"}])
        client.delete_item(gone)
        client.add_events([{"user_id": str(user), "item_id": f"i{user % 3}"} for user in range(10)])
        client.add_event("1", "i0", kind="seen in a list")
        client.forget_user("4")
        client.activate_model("second")
        shown = client.recommend("u00001", k=5)
    assert server.stop() == 0
    _check_counts(server, shown["list_id"])
    server.start()
    with server.client() as client:
        assert client.ready()["model"] == "second"
        assert [item["item_id"] for item in client.list_items(after="new")["items"]] == ["new 1", "new 2"]
        assert gone not in names(client.popular(k=90))
        assert names(client.recommend("u00001", k=5)) == names(shown)


def test_a_model_that_was_activated_stays_for_the_run_that_the_server_was_started_with_only(runs: Path, tmp_path: Path) -> None:
    for name in "abc":
        shutil.copytree(runs / "second", tmp_path / name)
    config = ServerConfig(store=f"sqlite:///{tmp_path / 'state.db'}")
    prepared = prepare(config, tmp_path / "a", make_key=False)

    async def activate() -> None:
        server = prepared.start()
        await server.activate(Call({}, None, None, None), "b")
        await server.close()

    def served(name: str) -> str:
        found = prepare(config, tmp_path / name, make_key=False)
        found.store.close()
        return found.generation.name

    asyncio.run(activate())
    assert [served(name) for name in "aca"] == ["b", "c", "a"]


def _check_counts(server: ServerProcess, list_id: str) -> None:
    """A stop writes the lists that waited; and the feed, replayed, gives the counts that were kept along the way."""
    store = Store(server.store)
    assert [row["list_id"] for row in store.about("u00001")["lists"]] == [list_id]
    kept = sorted(store.counts())
    assert [(item, events) for item, events, _ in kept] == [("i0", 4), ("i1", 2), ("i2", 3)]
    heat = heat_of(store, ServerConfig())
    with store.transaction() as connection:
        assert rebuild_counts(connection, heat) == 10
    rebuilt = sorted(store.counts())
    assert [row[:2] for row in rebuilt] == [row[:2] for row in kept]
    assert [row[2] for row in rebuilt] == pytest.approx([row[2] for row in kept])
    store.close()
