"""New items, deleted items, rules, other models: all while the server runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
from tests.serving.conftest import ServerProcess

from recsmith.recommender import load
from recsmith.serving.client import Client, ClientError


def names(answer: dict) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


@pytest.fixture(scope="module")
def shop(serve: Callable[..., ServerProcess]) -> ServerProcess:
    return serve()


@pytest.fixture
def client(shop: ServerProcess) -> Iterator[Client]:
    with shop.client() as client:
        yield client


def test_a_new_item_is_recommended_where_its_likes_are(client: Client, runs: Path) -> None:
    recommender = load(runs / "first")
    assert recommender.catalogue is not None
    model = names(client.recommend_session([recommender.log.items.ids[5]], k=1))[0]
    row = recommender.catalogue.frame.filter(pl.col("item_id").cast(pl.String) == model).to_dicts()[0]
    attributes = {name: value for name, value in row.items() if name != "item_id" and isinstance(value, str | int | float)}
    answer = client.put_item("brand new", title=row.get("title"), attributes=attributes)
    assert answer["answered_by"] == "neighbours"
    ranked = names(client.recommend_session([recommender.log.items.ids[5]], k=40))
    assert "brand new" in ranked
    assert client.recommend_session(["brand new"], k=3)["source"] == "model"
    with pytest.raises(ClientError, match="no item `never`"):
        client.delete_item("never")


def test_an_item_without_words_is_not_scored_and_the_server_says_so(client: Client) -> None:
    assert client.put_item("bare")["answered_by"] in ("unscored", "neighbours")
    assert client.get_item("bare")["title"] is None


def test_a_deleted_item_is_never_answered_again(client: Client) -> None:
    gone = names(client.popular(k=1))[0]
    client.recommend("u00005", k=20)
    assert client.delete_item(gone)["deleted"] is True
    for answer in (
        client.popular(k=90),
        client.recommend("u00005", k=90),
        client.recommend("a stranger", k=90),
        client.recommend_session([], k=90, allow=[gone], include_seen=True),
        client.trending(k=90),
    ):
        assert gone not in names(answer)
    assert "deleted" in client.why("u00005", gone)["reasons"][0]["text"]
    client.put_item(gone, title="back again")
    assert gone in names(client.popular(k=90))
    assert next(item for item in client.popular(k=90)["items"] if item["item_id"] == gone)["title"] == "back again"


def test_rules_hold_at_once_and_in_every_kind_of_list(client: Client) -> None:
    popular = names(client.popular(k=3))
    client.recommend("u00006", k=5)
    client.put_rules({"deny": [{"items": popular[:1], "name": "not this one"}], "pin": [{"item": popular[2], "position": 1}]})
    try:
        assert names(client.recommend("nobody", k=4))[0] == popular[2]
        for answer in (client.recommend("u00006", k=90), client.recommend_session([popular[1]], k=90), client.popular(k=90)):
            assert popular[0] not in names(answer)
        assert "`not this one` denies it" in client.why("u00006", popular[0])["reasons"][0]["text"]
        with pytest.raises(ClientError, match="no column `colour_of_hair`") as refusal:
            client.put_rules({"cap": [{"at_most": 2, "column": "colour_of_hair"}]})
        assert refusal.value.status == 422
        assert "deny" in client.get_rules()["rules"]
    finally:
        client.put_rules({})
    assert popular[0] in names(client.recommend("nobody", k=5))


def test_what_was_bought_is_not_shown_again(client: Client) -> None:
    bought, viewed = names(client.popular(k=2))
    client.put_rules({"purchased": {}})
    try:
        client.add_event("buyer", bought, kind="purchase")
        client.add_event("buyer", viewed)
        answer = names(client.recommend("buyer", k=90, include_seen=True))
        assert bought not in answer
        assert viewed in answer
    finally:
        client.put_rules({})


def test_models_are_changed_over_and_back_without_a_pause(shop: ServerProcess, client: Client, runs: Path) -> None:
    assert {model["name"] for model in client.list_models()["models"]} >= {"first", "second"}
    with pytest.raises(ClientError, match="no model was in service before"):
        client.rollback_model()
    expected = [str(item) for item in load(runs / "second").recommend(users=["u00007"], k=5)["item_id"].to_list()]
    before = names(client.recommend("u00007", k=5))
    assert client.activate_model("second")["model"] == "second"
    answer = client.recommend("u00007", k=5)
    assert (answer["model"], answer["source"]) == ("second", "model")
    assert set(names(answer)) - {"brand new"} <= set(expected) | set(names(client.recommend("u00007", k=12)))
    assert client.rollback_model()["model"] == "first"
    assert names(client.recommend("u00007", k=5)) == before
    for name in ("no-such", "../first", ".."):
        with pytest.raises(ClientError) as refusal:
            client.activate_model(name)
        assert refusal.value.status == 404


def test_a_damaged_model_is_refused_and_the_old_one_stays(client: Client, runs: Path) -> None:
    shutil.copytree(runs / "second", runs / "damaged", dirs_exist_ok=True)
    weights = runs / "damaged" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    with pytest.raises(ClientError, match="cannot be served") as refusal:
        client.activate_model("damaged")
    assert refusal.value.status == 409
    assert client.ready()["model"] == "first"
    shutil.rmtree(runs / "damaged")


def test_metrics_and_health(client: Client) -> None:
    client.recommend("u00008")
    text = client.metrics()
    assert 'recsmith_requests_total{route="GET /recommend/{user_id}",status="200"}' in text
    assert "recsmith_store_available 1.0" in text
    assert 'recsmith_model_info{name="first"} 1.0' in text
    assert client.live() == {"status": "ok"}
