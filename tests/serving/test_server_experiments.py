"""Experiments behind a real server: who is shown what, what came of it, and what is concluded, with clicks whose chances are known."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.serving.conftest import ServerProcess

from recsmith.cli.program import execute
from recsmith.serving.client import Client, ClientError
from recsmith.serving.experiments.definition import Definition, plan_of
from recsmith.serving.tables import MIGRATIONS

FILE = """
holdout = 0.2

[[experiment]]
name = "nothing"
layer = "nothing"
planned = 300
least_units = 50
arms = [{ name = "a" }, { name = "b" }]
"""


@pytest.fixture(scope="module")
def lab(serve: Callable[..., ServerProcess], tmp_path_factory: pytest.TempPathFactory) -> ServerProcess:
    folder = tmp_path_factory.mktemp("lab")
    (folder / "experiments.toml").write_text(FILE)
    guard = "guard_people = 50\nguard_click_seconds = 0.5\nguard_seconds = 0.2\n"
    (folder / "serve.toml").write_text(f'experiments = "{folder / "experiments.toml"}"\n{guard}')
    return serve("--config", str(folder / "serve.toml"))


@pytest.fixture
def client(lab: ServerProcess) -> Iterator[Client]:
    with lab.client() as client:
        yield client


def visit(client: Client, prefix: str, count: int, k: int = 5) -> dict[str, dict[str, Any]]:
    """People who have looked at something, and the list that each is shown."""
    people = [f"{prefix} {number}" for number in range(count)]
    items = [item["item_id"] for item in client.popular(k=50)["items"]]
    views = [{"user_id": person, "item_id": items[number % len(items)]} for number, person in enumerate(people)]
    for start in range(0, count, 500):
        client.add_events(views[start : start + 500])
    return {person: client.recommend(person, k=k) for person in people}


def click(client: Client, lists: dict[str, dict[str, Any]], chosen: Callable[[dict[str, Any]], str | None]) -> None:
    """What people click in their lists."""
    found = [(person, shown["list_id"], chosen(shown)) for person, shown in lists.items()]
    events = [{"user_id": person, "item_id": item, "kind": "click", "list_id": name} for person, name, item in found if item is not None]
    for start in range(0, len(events), 500):
        client.add_events(events[start : start + 500])


def test_a_planted_winner_is_found_and_nothing_where_nothing_is(lab: ServerProcess, client: Client, capsys: pytest.CaptureFixture) -> None:
    arms = [{"name": "old"}, {"name": "new", "model": "second"}]
    begun = client.create_experiment("ranker", arms, planned=300, least_units=50)
    assert (begun["stopped"], begun["problem"], begun["arms"][1]["model"]) == (None, None, "second")
    lists = visit(client, "shopper", 300)
    taking_part = {person: shown for person, shown in lists.items() if "ranker" in shown["experiments"]}
    for shown in taking_part.values():
        assert shown["model"] == {"old": "first", "new": "second"}[shown["experiments"]["ranker"]]
    held = [shown for shown in lists.values() if shown["experiments"] == {"holdout": "held out"}]
    assert len(held) + len(taking_part) == 300
    assert 30 < len(held) < 90
    assert client.recommend("shopper 0", k=5)["experiments"] == lists["shopper 0"]["experiments"]

    random = np.random.default_rng(3)
    chance = {"old": 0.2, "new": 0.6}
    click(
        client,
        taking_part,
        lambda shown: shown["items"][0]["item_id"] if random.random() < chance[shown["experiments"]["ranker"]] else None,
    )
    found = client.experiment_results("ranker")
    assert [arm["verdict"] for arm in found["arms"]] == ["higher"], found
    assert found["arms"][0]["mean"] == pytest.approx(0.6, abs=0.12)
    assert found["control"]["mean"] == pytest.approx(0.2, abs=0.12)
    assert found["sample_ratio"]["alarm"] is False
    assert found["control"]["units"] + found["arms"][0]["units"] == len(taking_part)
    assert "is higher than with `old`" in found["sentences"][0]
    assert client.experiment_results("nothing")["arms"][0]["verdict"] == "not yet"
    assert client.experiment_results("ranker", metric="purchase")["arms"][0]["mean"] == 0
    holdout = client.experiment_results("holdout")
    assert holdout["control"] == {"arm": "held out", "units": len(held), "mean": 0.0}
    assert holdout["sample_ratio"]["alarm"] is False

    assert execute(["experiment", "ranker", "--store", lab.store, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == found
    assert execute(["experiment", "ranker", "--store", lab.store]) == 0
    assert "is higher than with `old`" in capsys.readouterr().out
    assert execute(["experiment", "--store", lab.store]) == 0
    assert "runs" in capsys.readouterr().out

    one = next(iter(taking_part.values()))
    assert client.shown_list(one["list_id"])["experiment"]["arms"] == one["experiments"]
    assert client.stop_experiment("ranker")["stopped"] is not None
    assert "ranker" not in client.recommend("shopper 0", k=5)["experiments"]
    assert client.experiment_results("ranker")["arms"][0]["verdict"] == "higher"
    with pytest.raises(ClientError, match="there is no running experiment `ranker`"):
        client.stop_experiment("ranker")


def test_people_choose_between_interleaved_models(client: Client) -> None:
    client.create_experiment("duel", [{"name": "old"}, {"name": "new", "model": "second"}], kind="interleaving")
    lists = {person: shown for person, shown in visit(client, "judge", 150).items() if "duel" in shown["experiments"]}
    time.sleep(0.3)  # lists are written a moment after they are served
    teams = {}
    for person, shown in lists.items():
        assert shown["model"] == "first + second"
        row = client.shown_list(shown["list_id"])
        assert row["propensities"] == []
        teams[shown["list_id"]] = dict(zip(row["items"], row["experiment"]["teams"], strict=True))
        assert len(teams[shown["list_id"]]) == 5, person
    random = np.random.default_rng(5)
    liked = {"old": 0.15, "new": 0.4}

    def chosen(shown: dict[str, Any]) -> str | None:
        return next((item for item, team in teams[shown["list_id"]].items() if random.random() < liked[team]), None)

    click(client, lists, chosen)
    found = client.experiment_results("duel")["preference"]
    assert found["winner"] == "new", found
    assert found["units"] == len(lists)
    assert found["low"] > 0.5
    client.stop_experiment("duel")


def test_what_a_policy_would_have_brought(client: Client) -> None:
    exploring = {"kind": "epsilon", "epsilon": 0.5, "candidates": 4}
    client.create_experiment("brave", [{"name": "brave", "exploration": exploring}, {"name": "too", "exploration": exploring}])
    lists = {person: shown for person, shown in visit(client, "explorer", 320, k=2).items() if "brave" in shown["experiments"]}
    client.stop_experiment("brave")
    certain = {person: client.recommend(person, k=2)["items"][0]["item_id"] for person in lists}
    explored = np.mean([shown["items"][0]["item_id"] != certain[person] for person, shown in lists.items()])
    assert abs(explored - 0.5 * 3 / 4) < 4.5 * (0.375 * 0.625 / len(lists)) ** 0.5  # the server's draws have no seed
    random = np.random.default_rng(9)

    def liking(item: str) -> float:
        return 0.9 if int(item[1:]) % 2 else 0.1

    click(client, lists, lambda shown: item if random.random() < liking(item := shown["items"][0]["item_id"]) else None)

    same = client.estimate(exploration=exploring)
    assert (same["lists"], same["people"]) == (len(lists), len(lists))
    for one in same["estimates"]:  # the policy that ran: weights of 1, and the mean of what was seen
        assert one["value"] == pytest.approx(same["served"], abs=0.03 if one["method"] == "DR" else 1e-9)
        assert (one["mean_weight"], one["largest_weight"]) == (pytest.approx(1), pytest.approx(1))
    whole = client.estimate(exploration=exploring, scope="list")
    assert whole["estimates"][0]["mean_weight"] == pytest.approx(1)
    greedy = client.estimate()
    truth = np.mean([liking(item) for item in certain.values()])
    for one in greedy["estimates"]:
        assert one["low"] < one["value"] < one["high"]
        assert abs(one["value"] - truth) < 4.5 * one["standard_error"], (one, truth)
        assert one["standard_error"] < 0.08
    other = client.estimate(model="second", exploration=exploring)
    assert [one["method"] for one in other["estimates"]] == ["IPS", "SNIPS", "DR"]
    with pytest.raises(ClientError, match="0 lists have explored in this time"):
        client.estimate(hours=1e-6)
    with pytest.raises(ClientError, match="there is no model `nobody`"):
        client.estimate(model="nobody")


def test_rules_of_an_arm_hold_for_that_arm_only(client: Client) -> None:
    banned = client.popular(k=1)["items"][0]["item_id"]
    rules = {"deny": [{"where": {"items": [banned]}}]}
    client.create_experiment("without", [{"name": "with"}, {"name": "without", "rules": rules}])
    shown = {person: client.recommend(person, k=20) for person in (f"stranger {number}" for number in range(40))}
    for answer in shown.values():
        there = banned in [item["item_id"] for item in answer["items"]]
        assert there == (answer["experiments"].get("without") != "without")
    chosen = next(person for person, answer in shown.items() if answer["experiments"].get("without") == "without")
    assert client.why(chosen, banned, k=20)["position"] is None
    session = {name: client.recommend_session([], k=20, session_id=name) for name in shown}  # the same name has the same arm
    assert {name: answer["experiments"] for name, answer in session.items()} == {
        name: answer["experiments"] for name, answer in shown.items()
    }
    assert [banned in str(answer["items"]) for answer in session.values()] == [banned in str(answer["items"]) for answer in shown.values()]
    assert client.recommend_session([], k=20)["experiments"] == {}
    deleted = client.popular(k=2)["items"][1]["item_id"]
    client.delete_item(deleted)
    assert all(deleted not in str(client.recommend(person, k=20)) for person in shown)
    client.put_item(deleted)
    client.stop_experiment("without")


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"arms": [{"name": "a"}, {"name": "b", "model": "nobody"}]}, 409, "there is no model `nobody`; GET /models lists"),
        ({"layer": "nothing"}, 409, "`nothing` and `x` overlap in layer `nothing` from 0 to 1"),
        ({"name": "ranker"}, 409, "there was an experiment `ranker` before; give this one another name"),
        ({"kind": "interleaving", "arms": [{"name": name} for name in "abc"]}, 422, "interleaving compares two arms, `x` has 3"),
        ({"arms": [{"name": "a"}]}, 422, "at least 2 items"),
        ({"arms": [{"name": "a"}, {"name": "a"}]}, 422, "arm `a` of experiment `x` is there twice"),
        ({"name": "holdout"}, 422, "give another name"),
        ({"arms": [{"name": "a"}, {"name": "b", "rules": {"cup": []}}]}, 422, "rules of arm `b`: .*`cup`"),
    ],
)
def test_experiments_that_cannot_be(client: Client, change: dict[str, Any], status: int, says: str) -> None:
    asked = {"name": "x", "arms": [{"name": "a"}, {"name": "b"}], **change}
    with pytest.raises(ClientError, match=says) as refusal:
        client.create_experiment(**asked)
    assert refusal.value.status == status


def test_a_model_that_gets_fewer_clicks_goes(client: Client) -> None:
    random = np.random.default_rng(1)

    def trade(prefix: str, chance: float) -> str:
        """People come, some click; the model that answered the first of them, since it may be taken back while they come."""
        models = []
        for number in range(120):
            shown = client.recommend(f"{prefix} {number}", k=3)
            models.append(shown["model"])
            if random.random() < chance:
                client.add_event(f"{prefix} {number}", shown["items"][0]["item_id"], kind="click", list_id=shown["list_id"])
        return models[0]

    assert trade("before", 0.9) == "first"
    client.activate_model("second")
    assert (client.guard()["watching"], client.guard()["before"]) == (True, "first")
    assert trade("after", 0.02) == "second"
    for _ in range(100):
        if client.ready()["model"] == "first":
            break
        time.sleep(0.1)
    guard = client.guard()
    assert (client.ready()["model"], guard["watching"]) == ("first", False)
    assert "of its lists led to something, before it were" in guard["verdict"]
    last = client.audit(limit=100)["rows"][-1]
    for _ in range(100):  # the model is taken back first and written down then
        if last["action"] == "roll back model":
            break
        time.sleep(0.1)
        last = client.audit(limit=100)["rows"][-1]
    assert last["action"] == "roll back model"
    assert last["key_id"] is None
    assert "first, because of second" in last["target"]
    assert "recsmith_rollbacks_total 1.0" in client.metrics()


def test_everything_is_there_again_after_a_crash_and_nothing_about_who_was_forgotten(lab: ServerProcess) -> None:
    with lab.client() as client:
        before = client.recommend("returning", k=3)["experiments"]
        time.sleep(0.3)
        assert {row["experiment"]: row["arm"] for row in client.export_user("returning")["exposures"]} == before
    lab.kill()
    lab.start(lab.port)
    with lab.client() as client:
        assert [one["name"] for one in client.list_experiments()["experiments"] if one["stopped"] is None] == ["nothing"]
        assert client.recommend("returning", k=3)["experiments"] == before
        client.forget_user("returning")
        assert client.export_user("returning")["exposures"] == []
        with pytest.raises(ClientError, match="there is no experiment `ranked`; did you mean `ranker`"):
            client.experiment_results("ranked")


# ---- without a server ---------------------------------------------------------------------------------------------------


def test_a_store_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    from sqlalchemy import inspect

    from recsmith.serving.store import Store

    url = f"sqlite:///{tmp_path / 's.db'}"
    store = Store(url)
    with store.transaction() as connection:
        for statement in ("TABLE experiments", "TABLE exposures", "INDEX lists_by_time", "INDEX events_of_list"):
            connection.exec_driver_sql(f"DROP {statement}")
        connection.exec_driver_sql("UPDATE schema_version SET version = 1")
    store.close()
    store = Store(url)
    with store.transaction() as connection:
        found = inspect(connection)
        assert {"experiments", "exposures"} <= set(found.get_table_names())
        assert "lists_by_time" in {index["name"] for index in found.get_indexes("lists")}
        assert "events_of_list" in {index["name"] for index in found.get_indexes("events")}
    assert store.migrated == (1, len(MIGRATIONS))
    store.close()


def test_layers_must_not_set_the_same() -> None:
    first = Definition(name="a", arms=({"name": "x"}, {"name": "y", "model": "m"}))  # type: ignore[arg-type]
    second = first.override(name="b", layer="other")
    with pytest.raises(Exception, match="experiments `a` and `b` both set model or rules; put them into one layer"):
        plan_of([first, second], holdout=0)
    plan_of([first, first.override(name="b", layer="other", arms=({"name": "x"}, {"name": "y", "exploration": {}}))], holdout=0)


def test_the_file_is_checked(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "e.toml").write_text('[[experiment]]\nname = "a"\narms = [{ name = "x" }, { name = "y", rules = "none.toml" }]\n')
    (tmp_path / "serve.toml").write_text(f'experiments = "{tmp_path / "e.toml"}"\n')
    words = [
        "serve",
        str(runs / "second"),
        "--store",
        f"sqlite:///{tmp_path / 's.db'}",
        "--config",
        str(tmp_path / "serve.toml"),
        "--check",
    ]
    assert execute(words) == 2
    assert "none.toml` does not exist" in capsys.readouterr().err
    (tmp_path / "e.toml").write_text('[[experiment]]\nname = "a"\narms = [{ name = "x" }, { name = "y" }]\n')
    assert execute(words) == 0
    (tmp_path / "e.toml").write_text('[[experiment]]\nname = "a"\nmetric = "purchase"\narms = [{ name = "x" }, { name = "y" }]\n')
    capsys.readouterr()
    assert execute(words) == 2
    assert "has run with another definition; give the changed one another name" in capsys.readouterr().err
    assert execute(["experiment", "a", "--store", f"sqlite:///{tmp_path / 'nowhere.db'}"]) == 2
    assert "there is no store" in capsys.readouterr().err
