"""The same server on a real PostgreSQL, also while the database goes away and comes back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.serving.conftest import ServerProcess
from tests.serving.services import Postgres

from recsmith.serving.client import ClientError


def test_the_state_is_kept_in_postgres(serve: Callable[..., ServerProcess], postgres: Postgres) -> None:
    server = serve(store=postgres.url)
    with server.client() as client:
        popular = [item["item_id"] for item in client.popular(k=3)["items"]]
        event = {"user_id": "anna", "item_id": popular[0], "event_id": "one"}
        assert client.add_events([event, {**event, "event_id": "two", "item_id": popular[1]}]) == {"accepted": 2, "duplicates": 0}
        assert client.add_event(**event) == {"accepted": 0, "duplicates": 1}
        client.put_user("anna", attributes={"age": 30})
        client.delete_item(popular[2])
        shown = client.recommend("anna", k=5)
        assert shown["source"] == "model"
        assert not {*popular} & {item["item_id"] for item in shown["items"]}

        postgres.stop()
        with pytest.raises(ClientError, match="store is not available") as refusal:
            client.add_event("anna", "x", event_id="three")
        assert (refusal.value.status, refusal.value.retry_after) == (503, 2.0)
        assert client.ready() == {"status": "degraded", "model": "first", "store": "unavailable"}
        assert client.recommend("somebody else", k=5)["degraded"] == ["store"]
        assert [item["item_id"] for item in client.recommend("anna", k=5)["items"]] == [item["item_id"] for item in shown["items"]]

        postgres.start()
        assert client.add_event("anna", "x", event_id="three") == {"accepted": 1, "duplicates": 0}
        assert client.ready()["store"] == "available"
        assert [row["event_id"] for row in client.export_user("anna")["events"]] == ["one", "two", "three"]
        assert client.recommend("somebody else", k=5)["degraded"] == []
        assert client.forget_user("anna")["events"] == 3


def test_check_names_how_commits_reach_the_disk(postgres: Postgres, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from recsmith.cli.program import execute

    assert execute(["serve", str(runs / "first"), "--store", postgres.url, "--check"]) == 0
    assert "'synchronous_commit': 'on'" in capsys.readouterr().out
