"""Slates over HTTP, whole and slot by slot, and the evidence behind an item; all against the library on the same run."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.serving.conftest import ServerProcess

from recsmith.data import Dataset
from recsmith.decoding import Sampled
from recsmith.fitting import fit
from recsmith.recommender import load
from recsmith.serving.client import Client, ClientError
from recsmith.serving.config import ServerConfig
from recsmith.serving.generation import Slate
from recsmith.serving.process import prepare
from recsmith.serving.slates import growing_slate

SMALL = {"training": {"epochs": 1}, "model": {"dim": 16, "hidden": 16, "latent": 4}}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages") / "pages"
    fit("list-cvae", Dataset.from_world(users=200, items=100, events=2500), out=folder, settings=SMALL)
    return folder


@pytest.fixture(scope="module")
def shop(pages: Path, serve: Callable[..., ServerProcess]) -> Iterator[Client]:
    with serve(run=str(pages)).client() as client:
        yield client


def names(answer: Any) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def test_a_slate_is_that_of_the_run(shop: Client, pages: Path) -> None:
    recommender = load(pages)
    user = recommender.log.users.ids[3]
    for choices, given in (
        ({}, {}),
        ({"wanted": 0.25}, {"wanted": 0.25}),
        ({"selection": Sampled(seed=4)}, {"seed": 4}),
    ):
        expected = recommender.recommend_slate(users=[user], size=4, **choices)
        found = shop.slate(user, size=4, **given)
        assert names(found) == [str(item) for item in expected["item_id"]]
        assert found["log_likelihood"] == pytest.approx(expected["log_likelihood"][0], rel=1e-4)
        assert (found["filled"], found["source"], found["degraded"]) == ("slots", "model", [])
        assert [item["rank"] for item in found["items"]] == [1, 2, 3, 4]
    assert shop.slate(user, size=4)["source"] == "cache"
    history = recommender.history(user)[-3:]
    session = recommender.recommend_slate(histories=[history], size=3, deny=[history[0]])
    assert names(shop.slate_session(history, size=3, deny=history[:1])) == [str(item) for item in session["item_id"]]


def test_rules_hold_in_slates_and_strangers_get_what_is_popular(shop: Client) -> None:
    first = shop.slate_session(names(shop.popular(k=1)), size=3)
    pinned = names(shop.popular(k=50))[-1]
    shop.put_rules({"deny": [{"where": {"items": names(first)[:1]}}], "pin": [{"item": pinned, "position": 2}]})
    after = shop.slate_session(names(shop.popular(k=1)), size=3)
    assert names(first)[0] not in names(after)
    assert names(after)[1] == pinned
    stranger = shop.slate("nobody", size=3)
    assert (stranger["filled"], stranger["source"], stranger["log_likelihood"]) == ("list", "popularity", None)
    shop.put_rules({})


def test_a_new_item_is_in_the_slates_at_once(shop: Client, pages: Path) -> None:
    recommender = load(pages)
    user = recommender.log.users.ids[8]
    twin = shop.slate(user, size=1)["items"][0]
    shop.put_item("twin", title=twin["title"], attributes=_attributes(recommender, twin["item_id"]))
    found = shop.slate_session(recommender.history(user), size=3, allow=["twin", *names(shop.popular(k=3))])
    assert (found["filled"], found["source"]) == ("slots", "model")
    assert "twin" in names(found)
    assert shop.slate(user, size=2, wanted=0.5)["filled"] == "slots"
    shop.delete_item("twin")
    assert "twin" not in names(shop.slate_session(recommender.history(user), size=50))


def _attributes(recommender: Any, item: str) -> dict[str, Any]:
    assert recommender.catalogue is not None
    row = recommender.catalogue.rows(recommender.log.items.ids.filter(recommender.log.items.ids.cast(str) == item)).to_dicts()[0]
    return {name: value for name, value in row.items() if name in ("genres", "description", "brand") and value is not None}


def test_a_slate_comes_slot_by_slot_and_is_written_down(shop: Client, pages: Path) -> None:
    user = load(pages).log.users.ids[5]
    whole = shop.slate(user, size=6)
    *slots, last = shop.stream_slate(user, size=6)
    assert slots == whole["items"]
    assert last["done"] is True
    assert last["log_likelihood"] == pytest.approx(whole["log_likelihood"])
    shop.put_user("somebody")  # a write that is acknowledged takes the waiting lists along
    assert shop.shown_list(last["list_id"])["items"] == [slot["item_id"] for slot in slots]
    *slots, last = shop.stream_slate("nobody", size=3)
    assert (len(slots), last["source"]) == (3, "popularity")
    with pytest.raises(ClientError, match="less than or equal to 100"):
        next(shop.stream_slate(user, size=101))


def test_what_a_model_cannot_do_is_refused(client: Client, runs: Path) -> None:
    with pytest.raises(ClientError, match="SASRec does not learn from responses, so it cannot be asked for one; leave it out") as refusal:
        client.slate("1", wanted=1.0)
    assert refusal.value.status == 409
    user = load(runs / "first").log.users.ids[7]
    found = client.slate(user, size=3)
    assert (found["filled"], names(found)) == ("list", names(client.recommend(user, k=3)))


def test_a_connection_that_is_cut_leaves_nothing_behind(shop: Client, serve: Callable[..., ServerProcess], pages: Path) -> None:
    user = load(pages).log.users.ids[5]
    for _ in range(30):
        lines = shop.stream_slate(user, size=100, include_seen=True, deadline_ms=60_000)
        next(lines)
        lines.close()
    started = time.monotonic()
    *_, last = shop.stream_slate(user, size=2)
    assert last["degraded"] == []
    assert time.monotonic() - started < 20


def test_who_stops_listening_stops_the_model(pages: Path, tmp_path: Path) -> None:
    prepared = prepare(ServerConfig(store=f"sqlite:///{tmp_path / 'state.db'}"), pages, make_key=False)
    model: Any = prepared.generation.recommender.model
    slots, inside = [0], threading.Event()
    original = model.slot

    def slow(state: Any, chosen: Any) -> Any:
        slots[0] += 1
        inside.set()
        time.sleep(0.05)
        return original(state, chosen)

    model.slot = slow
    user = str(prepared.generation.recommender.log.users.ids[5])

    async def work() -> None:
        server = prepared.start()
        growing = growing_slate(server, user, 50, Slate(), include_seen=True, deadline_ms=60_000)
        await anext(growing)
        await growing.aclose()
        short = [filled async for filled in growing_slate(server, user, 50, Slate(), include_seen=True, deadline_ms=400)]
        served = short[-1][0]
        assert served.degraded == ("deadline",)
        assert 1 <= len(served.items) < 20
        await server.close()

    asyncio.run(work())
    assert slots[0] < 20


def test_evidence_is_that_of_the_library_on_the_live_history(client: Client, runs: Path) -> None:
    recommender = load(runs / "first")
    user = recommender.log.users.ids[20]
    new = next(item for item in recommender.log.items.ids.to_list() if item not in recommender.history(user))
    client.add_event(user, new)
    item = names(client.recommend(user, k=1))[0]
    found = client.explain(user, item, last=5)
    expected = recommender.explain(item, history=[*recommender.history(user), new], last=5)
    assert (found["measure"], found["rank"], found["codes"]) == ("score", expected.rank, [])
    assert [event["item_id"] for event in found["events"]] == [str(event.item_id) for event in expected.events]
    assert [event["change"] for event in found["events"]] == pytest.approx([event.change for event in expected.events], abs=1e-4)
    session = client.explain_session(item, [*recommender.history(user), new], last=5)
    assert [event["position"] for event in session["events"]] == [event["position"] for event in found["events"]]


def test_what_has_no_evidence_is_refused(client: Client) -> None:
    item = names(client.popular(k=1))[0]
    with pytest.raises(ClientError, match="comes from popularity and no event carries it") as refusal:
        client.explain("stranger without events", item)
    assert refusal.value.status == 409
    with pytest.raises(ClientError, match="no item `no-such`") as refusal:
        client.explain("1", "no-such")
    assert refusal.value.status == 404
