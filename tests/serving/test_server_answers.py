"""Lists over HTTP: what comes back, what an event changes, and what is refused."""

from __future__ import annotations

import asyncio
import http.client
import json
from pathlib import Path

import pytest

from recsmith.data import Dataset
from recsmith.fitting import fit
from recsmith.recommender import load
from recsmith.serving.bodies import ListQuery
from recsmith.serving.calls import Call
from recsmith.serving.client import Client, ClientError
from recsmith.serving.config import ServerConfig
from recsmith.serving.generation import Slate
from recsmith.serving.handlers import lists
from recsmith.serving.process import prepare
from recsmith.serving.slates import slate_for_person


def names(answer: dict) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def test_answers_are_those_of_the_run(client: Client, runs: Path) -> None:
    recommender = load(runs / "first")
    for user in recommender.log.users.ids[:3].to_list():
        answer = client.recommend(user, k=7)
        expected = recommender.recommend(users=[user], k=7)
        assert names(answer) == [str(item) for item in expected["item_id"].to_list()]
        assert [item["rank"] for item in answer["items"]] == list(range(1, 8))
        assert [item["score"] for item in answer["items"]] == pytest.approx(expected["score"].to_list(), rel=1e-4)
        assert (answer["model"], answer["source"], answer["degraded"]) == ("first", "model", [])
        assert [item["title"] for item in answer["items"]] == recommender.titles(expected["item_id"])


def test_session_is_answered_like_a_history_of_the_run(client: Client, runs: Path) -> None:
    recommender = load(runs / "first")
    items = recommender.log.items.ids[3:6].to_list()
    expected = recommender.recommend(histories=[items], k=5)
    assert names(client.recommend_session([*items, "no such item"], k=5)) == [str(item) for item in expected["item_id"].to_list()]


def test_allow_deny_and_include_seen(client: Client) -> None:
    some = names(client.popular(k=6))
    answer = client.recommend_session(some[:1], k=10, allow=some, deny=some[1:2])
    assert set(names(answer)) == set(some[2:])
    assert set(names(client.recommend_session(some[:1], k=10, allow=some, include_seen=True))) == set(some)


def test_a_task_that_repeats_items_is_served_with_them_unless_a_request_says_otherwise(tmp_path: Path) -> None:
    fit("personal-top-frequency", Dataset.from_world(users=80, items=40, events=900), out=tmp_path / "baskets")
    prepared = prepare(ServerConfig(store=f"sqlite:///{tmp_path / 'state.db'}"), tmp_path / "baskets", make_key=False)
    generation, recommender = prepared.generation, prepared.generation.recommender
    assert recommender.recipe.split.name == "next-basket"
    user = str(recommender.log.users.ids[0])
    expected = [str(item) for item in recommender.recommend(users=[recommender.log.users.ids[0]], k=3)["item_id"]]
    bought = {generation.item_names[item] for item in recommender.log.histories.row(0)}
    assert set(expected) <= bought

    async def work() -> None:
        server = prepared.start()
        try:
            assert (await server.recommend(user, 3)).items == expected
            assert not bought & set((await server.recommend(user, 3, include_seen=False)).items)
            assert (await server.recommend_session(sorted(bought), 3)).items[0] in bought
            assert not bought & set((await server.recommend_session(sorted(bought), 3, include_seen=False)).items)
            slate, _ = await slate_for_person(server, user, 3, Slate(), include_seen=None, deadline_ms=None)
            assert slate.items == expected
            missing = next(item for item in bought if item not in expected)
            assert "history" not in (await server.why(user, missing, 3)).reasons[0].text
            similar = await lists.similar(server, Call({"item_id": expected[0]}, ListQuery(k=40), None, None))
            assert expected[0] not in [item["item_id"] for item in similar["items"]]
        finally:
            await server.close()

    asyncio.run(work())


def test_strangers_get_the_popular_items_and_the_answer_says_so(client: Client) -> None:
    answer = client.recommend("somebody new", k=5)
    assert answer["source"] == "popularity"
    assert names(answer) == names(client.popular(k=5))


def test_an_event_changes_the_next_answer(client: Client) -> None:
    before = client.recommend("visitor 1", k=10)
    seen = names(before)[0]
    assert client.add_event("visitor 1", seen) == {"accepted": 1, "duplicates": 0}
    after = client.recommend("visitor 1", k=10)
    assert after["source"] == "model"
    assert seen not in names(after)
    assert client.user_history("visitor 1")["items"][-1]["item_id"] == seen
    session = client.recommend_session([seen], k=10)
    assert names(after) == names(session)


def test_a_known_person_goes_on_from_the_run(client: Client, runs: Path) -> None:
    recommender = load(runs / "first")
    user = recommender.log.users.ids[10]
    history = recommender.history(user)
    new = next(item for item in recommender.log.items.ids.to_list() if item not in history)
    client.recommend(user)
    client.add_event(user, new)
    expected = [row["item_id"] for row in client.user_history(user)["items"]]
    assert expected == [str(item) for item in [*history, new]]
    direct = recommender.recommend(histories=[[*history, new]], k=8)
    assert names(client.recommend(user, k=8)) == [str(item) for item in direct["item_id"].to_list()]


def test_a_repeated_question_is_answered_from_the_cache_until_something_changes(client: Client) -> None:
    client.add_event("visitor 2", names(client.popular(k=1))[0])
    first = client.recommend("visitor 2", k=4)
    second = client.recommend("visitor 2", k=4)
    assert (first["source"], second["source"]) == ("model", "cache")
    assert names(first) == names(second)
    assert first["list_id"] != second["list_id"]
    client.add_event("visitor 2", names(first)[0])
    assert client.recommend("visitor 2", k=4)["source"] == "model"


def test_similar_items_do_not_hold_the_item(client: Client) -> None:
    item = names(client.popular(k=1))[0]
    assert item not in names(client.similar(item, k=20))


def test_why(client: Client) -> None:
    item = names(client.popular(k=1))[0]
    client.add_event("visitor 3", item)
    found = client.why("visitor 3", item)
    assert found["position"] is None
    assert "history" in found["reasons"][0]["text"]
    shown = names(client.recommend("visitor 3", k=10))
    assert client.why("visitor 3", shown[2])["position"] == 3


def test_served_lists_are_written_down(client: Client) -> None:
    answer = client.recommend("visitor 4", k=3)
    client.put_user("visitor 4")  # a write that is acknowledged takes the waiting lists along
    kept = client.shown_list(answer["list_id"])
    assert kept["items"] == names(answer)
    assert kept["propensities"] == [1.0, 1.0, 1.0]
    assert (kept["user_id"], kept["model"]) == ("visitor 4", "first")


@pytest.mark.parametrize(
    ("address", "status", "says"),
    [
        ("/recommend/1?k=0", 422, "`k`"),
        ("/recommend/1?k=100000000", 422, "less than or equal to 1000"),
        ("/recommend/1?k=ten", 422, "given: 'ten'"),
        ("/recommend/1?top=3", 422, "`top`: is not known here"),
        ("/recommend/1?k=1&k=2", 422, "given twice"),
        ("/recommend/%ff", 400, "UTF-8"),
        ("/recommend/a%00b", 422, "control character"),
        ("/recommend/" + "x" * 300, 422, "256 characters"),
        ("/similar/no-such-item", 404, "no item `no-such-item`"),
        ("/nothing/here", 404, "openapi.json"),
        ("/recommend/", 404, "openapi.json"),
        ("/../../etc/passwd", 404, "openapi.json"),
    ],
)
def test_refusals_are_problem_documents(client: Client, address: str, status: int, says: str) -> None:
    connection = client._connection
    connection.request("GET", address, headers=client._headers)
    response = connection.getresponse()
    document = json.loads(response.read())
    assert (response.status, document["status"]) == (status, status)
    assert response.headers["content-type"] == "application/problem+json"
    assert says in document["detail"]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"{", 400, "not JSON"),
        (b"[" * 100_000, 400, "nested"),
        (b'{"history": ["a"], "k": 1e300}', 422, "`k`"),
        (b'{"history": "a"}', 422, "`history`"),
        (b'{"history": ["\\ud800"]}', 400, "not JSON"),
        (b'{"history": [], "limit": 3}', 422, "`limit`: is not known here"),
        (b'{"history": [""]}', 422, "`history.0`"),
        (b"\xff\xfe", 400, "not JSON"),
        (b'{"history": ["' + b"x" * 5_000_000 + b'"]}', 413, "4194304 bytes"),
    ],
)
def test_bodies_that_are_refused(client: Client, body: bytes, status: int, says: str) -> None:
    connection = http.client.HTTPConnection(client._connection.host, client._connection.port, timeout=60)
    connection.request("POST", "/recommend", body, client._headers)
    response = connection.getresponse()
    document = json.loads(response.read())
    connection.close()
    assert response.status == status, document
    assert says in document["detail"]


def test_sql_and_markup_in_ids_are_just_text(client: Client) -> None:
    for name in ("'; DROP TABLE events; --", "a/b", "..", "100%", "ünïcödé 🎬", "<script>", '"quoted"'):
        client.add_event(name, name, event_id=f"hostile {name}")
        assert client.user_history(name)["user_id"] == name
        assert client.export_user(name)["events"][0]["item_id"] == name


def test_wrong_method(client: Client) -> None:
    with pytest.raises(ClientError, match="allowed: GET") as refusal:
        client._send("DELETE", ["popular"])
    assert (refusal.value.status, refusal.value.kind) == (405, "wrong-method")
