"""Several workers on one socket: a parent that starts them, starts again those that die, and stops them all. It loads no model itself.

A worker is a process of its own with the model in its own memory; what it must know of the others is `sharing`'s business.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from recsmith.errors import RecsmithError, UserError
from recsmith.serving import changes
from recsmith.serving.config import ServerConfig
from recsmith.serving.logs import set_up_logs
from recsmith.serving.opening import announce, listen, make_first_key
from recsmith.serving.store import Store

LOG = logging.getLogger("recsmith.serving")

_TICK = 0.1
_GRACE = 30.0
"""Seconds that workers have to finish what they began."""
_FAILED = 3
"""Deaths in a row of workers that were never ready, after which the parent gives up."""


class Workers:
    """`count` processes; call `run` once."""

    def __init__(self, config: ServerConfig, run: Path, *, rules: Path | None = None) -> None:
        """Opens the address. Raises `UserError` when it is taken."""
        self._config = config
        self._listener = listen(config.host, config.port)
        self._order = json.dumps(
            {
                "config": config.model_dump(mode="json"),
                "run": str(run),
                "rules": None if rules is None else str(rules),
                "listener": self._listener.fileno(),
            }
        )
        self._workers: list[subprocess.Popen[str]] = []
        self._never_ready = 0
        self._stopping = False

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises `UserError` when no worker can start."""
        set_up_logs()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        try:
            self._workers = [self._start() for _ in range(self._config.workers)]
            names = [self._name(worker) for worker in self._workers]
            if not self._stopping:
                if not all(names):
                    raise UserError("a worker could not start; the lines above say why")
                print(announce(self._config, self._listener, str(names[0])), flush=True)
            while not self._stopping:
                time.sleep(_TICK)
                self._replace_dead()
        finally:
            self._end()

    def _start(self) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "recsmith.serving.worker"]
        worker = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=[self._listener.fileno()], start_new_session=True
        )
        assert worker.stdin is not None
        worker.stdin.write(self._order + "\n")  # and stays open: its end tells the worker that the parent is gone
        worker.stdin.flush()
        return worker

    def _name(self, worker: subprocess.Popen[str]) -> str:
        """Waits until a worker is ready: the name of its model, empty when it died before."""
        assert worker.stdout is not None
        return worker.stdout.readline().strip()

    def _replace_dead(self) -> None:
        for place, worker in enumerate(self._workers):
            if worker.poll() is None:
                continue
            LOG.error("worker %d ended with %s; another one starts", worker.pid, worker.returncode)
            self._workers[place] = self._start()
            ready = bool(self._name(self._workers[place])) or self._stopping
            self._never_ready = 0 if ready else self._never_ready + 1
            if self._never_ready >= _FAILED:
                raise UserError("workers end before they are ready; the lines above say why")

    def _stop(self, *_: Any) -> None:
        self._stopping = True

    def _end(self) -> None:
        for worker in self._workers:
            if worker.poll() is None:
                worker.terminate()
        end = time.monotonic() + _GRACE
        for worker in self._workers:
            try:
                worker.wait(timeout=max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
        self._listener.close()


def prepare_store(config: ServerConfig) -> str | None:
    """What workers must not all do at once: migrate, fix the day that heat counts from, make the first key. Raises `UserError`."""
    store = Store(config.store)
    try:
        if store.setting("heat") is None:
            with store.transaction() as connection:
                changes.put_setting(connection, "heat", {"since": time.time()})
        return make_first_key(store, config)
    finally:
        store.close()


def work(order: dict[str, Any]) -> None:
    """One worker's life."""
    from recsmith.serving import process

    config = ServerConfig.parse(order["config"], where="serve")
    rules = None if order["rules"] is None else Path(order["rules"])
    prepared = process.prepare(config, Path(order["run"]), rules=rules, make_key=False)
    process.serve(prepared, socket.socket(fileno=order["listener"]))


def _end_with_parent() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> int:
    """What `python -m recsmith.serving.worker` does: reads the order from standard input. The exit code."""
    try:
        order = json.loads(sys.stdin.readline())
        threading.Thread(target=_end_with_parent, name="recsmith-parent", daemon=True).start()
        work(order)
    except RecsmithError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
