"""Real services that tests and benchmarks start for themselves: PostgreSQL and Redis, on free ports of loopback."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class MissingServiceError(Exception):
    """What is not installed, and the command that installs it."""


def find_postgres() -> Path | None:
    """The folder with `initdb` and `pg_ctl`: on the path, or where Debian puts them."""
    places = [*Path("/usr/lib/postgresql").glob("*/bin"), *(Path(place) for place in os.environ.get("PATH", "").split(":"))]
    return next((place for place in places if (place / "initdb").exists() and (place / "pg_ctl").exists()), None)


class Postgres:
    """A database cluster of its own on a free port."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self.binaries, self.folder = binaries, folder
        self.port = free_port()
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


class Redis:
    """A Redis of its own on a free port, which keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        words = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(words, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError("redis-server does not answer")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Raises `MissingServiceError`."""
    binaries = find_postgres()
    if binaries is None:
        raise MissingServiceError("PostgreSQL is not installed: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="recsmith-postgres-", dir="/tmp"))
    if os.getuid() == 0:
        os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
    database = Postgres(binaries, folder)
    try:
        yield database
    finally:
        database.stop()
        shutil.rmtree(folder)


@contextmanager
def running_redis() -> Iterator[Redis]:
    """Raises `MissingServiceError`."""
    if shutil.which("redis-server") is None:
        raise MissingServiceError("Redis is not installed: apt-get install redis-server")
    with tempfile.TemporaryDirectory() as folder:
        redis = Redis(Path(folder))
        try:
            yield redis
        finally:
            redis.stop()
