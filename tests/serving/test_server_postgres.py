"""The same server on a real PostgreSQL, also while the database goes away and comes back."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.serving.conftest import ServerProcess

from recsmith.serving.client import ClientError


def find_postgres() -> Path | None:
    """The folder with `initdb` and `pg_ctl`: on the path, or where Debian puts them."""
    places = [*Path("/usr/lib/postgresql").glob("*/bin"), *(Path(place) for place in os.environ.get("PATH", "").split(":"))]
    return next((place for place in places if (place / "initdb").exists() and (place / "pg_ctl").exists()), None)


class Postgres:
    """A database cluster of its own on a free port."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self.binaries, self.folder = binaries, folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._as_owner("initdb", "-D", str(folder / "data"), "-A", "trust", "-U", "recsmith", "--no-sync")
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql://recsmith@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
        self._as_owner("pg_ctl", "-D", str(self.folder / "data"), "-w", "-o", options, "-l", str(self.folder / "log"), "start")

    def stop(self) -> None:
        self._as_owner("pg_ctl", "-D", str(self.folder / "data"), "-w", "-m", "immediate", "stop")

    def _as_owner(self, program: str, *words: str) -> None:
        """PostgreSQL refuses to run as root."""
        user = "postgres" if os.getuid() == 0 else None
        subprocess.run(
            [str(self.binaries / program), *words], check=True, user=user, cwd=self.folder, stdout=subprocess.DEVNULL, timeout=120
        )


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'recsmith[postgres]'")
    binaries = find_postgres()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    folder = Path("/tmp") / f"recsmith-postgres-{os.getpid()}"
    folder.mkdir()
    if os.getuid() == 0:
        os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
    database = Postgres(binaries, folder)
    yield database
    database.stop()
    shutil.rmtree(folder)


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
