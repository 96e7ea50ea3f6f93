"""A real server process on loopback, on a small run that is fitted once."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from tests.serving.services import MissingServiceError, Postgres, Redis, running_postgres, running_redis

from recsmith.data import Dataset
from recsmith.fitting import fit
from recsmith.serving.client import Client

TINY = {"training": {"epochs": 1}, "model": {"dim": 16}}


class ServerProcess:
    """`recsmith serve` as somebody would start it."""

    def __init__(self, run: Path, folder: Path, *options: str, store: str | None = None, prepare: Any = None) -> None:
        self.run, self.folder, self.options, self.prepare = run, folder, options, prepare
        self.store = store or f"sqlite:///{folder / 'state.db'}"
        self.key: str | None = None
        self.start()

    def start(self, port: int = 0) -> None:
        """Start, and wait until it serves."""
        words = [str(Path(sys.executable).with_name("recsmith")), "serve", str(self.run), "--port", str(port), "--store", self.store]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
        self.errors = (self.folder / "server.log").open("a+")
        self.process = subprocess.Popen(
            [*words, *self.options], stdout=subprocess.PIPE, stderr=self.errors, text=True, env=environment, preexec_fn=self.prepare
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"(https?)://([\d.]+):(\d+)", line)
        assert found, f"no server: {line!r} {self.log()}"
        self.url, self.port = found[0], int(found[3])
        shown = re.search(r"rsk_\w+(?:-|\w)*", self.log())
        if self.key is None and shown:
            self.key = shown[0]
        self._wait()

    def _wait(self) -> None:
        for _ in range(600):
            try:
                with self.client(None) as client:
                    client.live()
                    return
            except OSError:
                time.sleep(0.05)
        raise AssertionError(f"the server does not answer: {self.log()}")

    def client(self, key: str | None = "", *, timeout: float = 60.0) -> Client:
        """A client with the administrator's key, or another."""
        return Client(self.url, self.key if key == "" else key, timeout=timeout)

    def log(self) -> str:
        """What it wrote to standard error."""
        return (self.folder / "server.log").read_text()

    def kill(self) -> None:
        """`kill -9`."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.errors.close()
        return code


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs `first` (SASRec) and `second` (item-kNN) of one data set."""
    folder = tmp_path_factory.mktemp("runs")
    data = Dataset.from_world(users=200, items=100, events=2500)
    fit("sasrec", data, out=folder / "first", settings=TINY)
    fit("item-knn", data, out=folder / "second")
    return folder


@pytest.fixture(scope="session")
def serve(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers that are stopped at the end."""
    started: list[ServerProcess] = []

    def start(*options: str, run: str = "first", **choices: Any) -> ServerProcess:
        started.append(ServerProcess(runs / run, tmp_path_factory.mktemp("server"), *options, **choices))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def server(serve: Callable[..., ServerProcess]) -> ServerProcess:
    """A server that tests share: they use people and items of their own."""
    return serve()


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    """The administrator's client of the shared server."""
    with server.client() as client:
        yield client


def write_toml(path: Path, **settings: Any) -> Path:
    """A settings file."""
    path.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
    return path


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A database that tests may stop, if they start it again."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'recsmith[postgres]'")
    try:
        with running_postgres() as database:
            yield database
    except MissingServiceError as error:
        missing(error)


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    """A Redis that tests may stop, if they start it again."""
    pytest.importorskip("redis", reason="redis is not installed: pip install 'recsmith[redis]'")
    try:
        with running_redis() as service:
            yield service
    except MissingServiceError as error:
        missing(error)


def missing(error: MissingServiceError) -> NoReturn:
    """A laptop may do without; continuous integration may not."""
    if os.environ.get("CI"):
        pytest.fail(str(error))
    pytest.skip(str(error))
