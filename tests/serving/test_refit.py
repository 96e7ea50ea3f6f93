"""Fitting again on what a store has gathered: what is learned, what is left out, and that the server is never worse off for it."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.serving.conftest import ServerProcess

from recsmith.cli.program import execute
from recsmith.data import Dataset
from recsmith.errors import DataError
from recsmith.fitting import fit
from recsmith.recommender import Recommender, load
from recsmith.serving import changes
from recsmith.serving.changes import Heat, NewEvent
from recsmith.serving.client import Client, ClientError
from recsmith.serving.config import RefitConfig, ServerConfig
from recsmith.serving.growth import Growth
from recsmith.serving.live import LiveCounts
from recsmith.serving.making import Ingredients, make_generation
from recsmith.serving.process import prepare
from recsmith.serving.refits import Refits
from recsmith.serving.refitting import refit
from recsmith.serving.store import PastEvent, Store

KINDS = ("view", "purchase")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    return fit("item-knn", Dataset.from_world(users=80, items=40, events=900), out=tmp_path_factory.mktemp("runs") / "shop")


@pytest.fixture
def store(tmp_path: Path) -> Any:
    opened = Store(f"sqlite:///{tmp_path / 'state.db'}")
    yield opened
    opened.close()


def write(store: Store, events: list[tuple[str, str]], *, kind: str = "view") -> dict[str, int]:
    now = time.time()
    rows = [NewEvent(f"{kind} {user} {item} {n}", user, item, kind, now + n, 1.0, None, now) for n, (user, item) in enumerate(events)]
    with store.transaction() as connection:
        changes.put_setting(connection, "heat", {"kinds": list(KINDS)})
        return changes.add_events(connection, rows, Heat(now, 72.0, frozenset(KINDS)))


def test_a_fit_learns_the_feed_and_leaves_out_what_it_must(base: Recommender, store: Store) -> None:
    users, items = [str(user) for user in base.log.users.ids], [str(item) for item in base.log.items.ids]
    gone, forgotten = items[3], users[5]
    new = [("new one", item) for item in items[10:14]] + [("new one", "lamp"), (users[0], "lamp"), (users[0], gone)]
    write(store, [*new, (users[1], "misspelt"), (forgotten, items[9])])
    write(store, [(users[2], items[20])], kind="hover")
    with store.transaction() as connection:
        changes.put_items(connection, [{"item_id": "lamp", "title": "A lamp", "attributes": {}}], now=0.0)
        changes.put_items(connection, [{"item_id": items[11], "title": "Renamed", "attributes": {}}], now=0.0)
        changes.delete_item(connection, gone, now=0.0)
        changes.forget_user(connection, forgotten, now=0.0, heat=Heat(0.0, 72.0, frozenset(KINDS)))
    made = refit(base, store, how="fit", kinds=KINDS)
    names = {str(item) for item in made.log.items.ids}
    assert "lamp" in names
    assert gone not in names
    assert "misspelt" not in names
    assert forgotten not in {str(user) for user in made.log.users.ids}
    assert [str(item) for item in made.history("new one")] == [*items[10:14], "lamp"]
    assert [str(item) for item in made.history(users[0])] == [*(i for i in map(str, base.history(users[0])) if i != gone), "lamp"]
    assert [str(item) for item in made.history(users[2])] == [i for i in map(str, base.history(users[2])) if i != gone]
    assert made.titles(["lamp", items[11]]) == ["A lamp", "Renamed"]
    assert made.card["feed"] == {"store": store.identity, "seq": store.last_event(), "events": 6, "how": "fit"}
    with pytest.raises(DataError, match="no events that the run has not learned from"):
        refit(made, store, how="update", kinds=KINDS)


def test_an_update_goes_on_and_the_server_adds_only_what_came_after(base: Recommender, store: Store) -> None:
    users, items = [str(user) for user in base.log.users.ids], [str(item) for item in base.log.items.ids]
    seqs = write(store, [(users[0], items[20]), ("new one", items[21]), (users[0], "lamp")])
    with store.transaction() as connection:
        changes.put_items(connection, [{"item_id": "lamp", "title": "A lamp", "attributes": {}}], now=0.0)
    made = refit(base, store, how="update", kinds=KINDS)
    assert made.card["update"]["events on unknown items, left out"] == 1
    later = write(store, [(users[0], items[22]), ("new one", items[23])], kind="purchase")
    generation = make_generation("made", Growth(made), store, Ingredients())
    assert generation.feed_from == max(seqs.values())
    for user, own in ((users[0], ["lamp", items[22]]), ("new one", [items[23]])):
        rows = [row for row in store.feed(after=0, limit=99) if row["user_id"] == user]
        live = [PastEvent(row["seq"], row["item_id"], row["time"], row["value"], row["kind"]) for row in rows]
        question = generation.question(5, user=generation.user_index(user), live=live)
        assert [generation.item_names[item] for item in question.items] == [*map(str, made.history(user)), *own]
    assert len(later) == 2
    popularity = generation.popularity.copy()
    generation.take_counts(LiveCounts(Heat(0.0, 72.0, frozenset(KINDS)), store.counts()))
    more = {generation.item_names[item]: int(count) for item, count in enumerate(generation.popularity - popularity) if count}
    assert more == {items[22]: 1, items[23]: 1, "lamp": 1}


def test_the_command(base: Recommender, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = base.save(tmp_path / "shop")
    url = f"sqlite:///{tmp_path / 'state.db'}"
    missing = tmp_path / "misspelt.db"
    assert execute(["refit", str(run), "--store", f"sqlite:///{missing}", "--out", str(tmp_path / "next")]) == 2
    assert "misspelt.db`; give the URL that the server was started with" in capsys.readouterr().err
    assert not missing.exists()
    assert execute(["refit", str(run), "--store", url, "--out", str(tmp_path / "next")]) == 2
    assert "no events that the run has not learned from" in capsys.readouterr().err
    assert not (tmp_path / "next").exists()
    assert execute(["refit", str(run), "--store", url, "--out", str(run)]) == 2
    assert "give another folder to --out" in capsys.readouterr().err
    write(store, [("new one", str(base.log.items.ids[0]))])
    assert execute(["refit", str(run), "--store", url, "--out", str(tmp_path / "next"), "--update"]) == 0
    assert "learned 1 new events up to number 1" in capsys.readouterr().out
    assert np.array_equal(load(tmp_path / "next").history("new one"), [base.log.items.ids[0]])


def test_a_server_fits_again_beside_its_answers(base: Recommender, serve: Callable[..., ServerProcess], tmp_path: Path) -> None:
    folder = tmp_path / "models"
    base.save(folder / "shop")
    server = serve(run=str(folder / "shop"))
    with server.client() as client:
        items = [str(item) for item in base.log.items.ids]
        assert client.refit_status()["running"] is False
        client.add_events([{"user_id": "new one", "item_id": item} for item in items[:4]])
        started = client.start_refit("fit")
        assert started["running"] is True
        with pytest.raises(ClientError, match="is being fitted already") as refusal:
            client.start_refit("update")
        assert refusal.value.status == 409
        os.kill(_child(client), 9)
        assert _ended(client)["outcome"] == "stopped"
        assert client.ready()["model"] == "shop"
        assert [model["name"] for model in client.list_models()["models"]] == ["shop"]
        client.start_refit("fit", activate=True)
        done = _ended(client)
        assert (done["outcome"], done["activated"]) == ("done", True), done
        answer = client.recommend("new one", k=5)
        assert (answer["model"], answer["source"]) == (done["model"], "model")
        assert [row["item_id"] for row in client.user_history("new one")["items"]] == items[:4]
        assert client.list_models()["previous"] == "shop"
        assert [row["action"] for row in client.audit(limit=99)["rows"]].count("refit") == 2
    shutil.rmtree(folder / "shop")


def test_the_schedule_fits_when_there_is_enough_and_tidies_up(base: Recommender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = base.save(tmp_path / "shop")
    settings = RefitConfig(every_hours=0.05 / 3600, least_events=2, activate=True, keep=1)
    config = ServerConfig(store=f"sqlite:///{tmp_path / 'state.db'}", refit=settings)
    prepared = prepare(config, run, make_key=False)
    items = [str(item) for item in base.log.items.ids]
    old = [tmp_path / f"shop-2020010{day}-000000" for day in (1, 2)]
    for folder in (*old, tmp_path / "other-20200101-000000"):
        shutil.copytree(run, folder)

    async def fit_here(self: Refits, state: dict[str, Any]) -> tuple[int, str]:
        refit(base, prepared.store, how=state["how"], kinds=KINDS).save(tmp_path / state["model"])
        return 0, ""

    monkeypatch.setattr(Refits, "_fit", fit_here)

    async def work() -> None:
        server = prepared.start()
        now = time.time()
        await server.writer.add_events([NewEvent("1", "new one", items[0], "view", now, 1.0, None, now)])
        await asyncio.sleep(0.3)
        assert (await server.refits.status())["started"] is None
        await server.writer.add_events([NewEvent("2", "new one", items[1], "view", now, 1.0, None, now)])
        for _ in range(200):
            await asyncio.sleep(0.05)
            if (await server.refits.status())["outcome"] == "done":
                break
        assert server.generation.name == (await server.refits.status())["model"]
        assert server.generation.feed_from == 2
        await asyncio.sleep(0.2)  # nothing new: no second run
        names = {path.name for path in tmp_path.iterdir() if path.is_dir()}
        assert names == {"shop", server.generation.name, "other-20200101-000000"}
        await server.close()

    asyncio.run(work())


def _child(client: Client) -> int:
    for _ in range(1000):
        process = client.refit_status()["process"]
        if process is not None:
            return int(process)
        time.sleep(0.01)
    raise AssertionError(client.refit_status())


def _ended(client: Client) -> dict[str, Any]:
    for _ in range(1200):
        status = client.refit_status()
        if not status["running"]:
            return status
        time.sleep(0.1)
    raise AssertionError(status)
