"""`Refits`: fits the model again in a process of its own, on a schedule or when asked, and puts the new run into service where wanted.

The process reads the store, writes a run folder beside the others in one step, and ends; whatever happens to it, the model in service stays
what it was. What it is about stands in the store, so that every worker knows, and only one of them starts it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from recsmith.errors import RecsmithError
from recsmith.serving import changes
from recsmith.serving.calls import Call
from recsmith.serving.config import PREFIX
from recsmith.serving.problems import Problem
from recsmith.serving.store import StoreUnavailableError

if TYPE_CHECKING:
    from recsmith.serving.server import Server

LOG = logging.getLogger("recsmith.serving")
NOTHING: dict[str, Any] = {
    "running": False,
    "how": None,
    "model": None,
    "started": None,
    "finished": None,
    "outcome": None,
    "detail": None,
    "activated": False,
    "process": None,
}
_STAMP = re.compile(r"-\d{8}-\d{6}$")
_NOBODY = Call({}, None, None, None)
_LOOK_SECONDS = 30.0


class Refits:
    """Belongs to a server in an event loop."""

    def __init__(self, server: Server, run: Path) -> None:
        """`run`: the folder that the server was started with; the other runs are in its folder of models."""
        self._server = server
        self._run_folder = run.resolve()
        self._settings = server.config.refit
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._schedule = None if self._settings.every_hours is None else asyncio.create_task(self._run_schedule())

    async def status(self) -> dict[str, Any]:
        """What runs, or how the last run ended. Raises `Problem` (503)."""
        async with self._turn:
            return self._seen(await self._server.ask(lambda store: store.setting("refit")))

    async def start(self, call: Call, how: str, *, activate: bool) -> dict[str, Any]:
        """Begin a run. Raises `Problem` (409) while one is running."""
        if not await self._begin(call, how, activate=activate):
            raise Problem("conflict", "a run is being fitted already; GET /refit tells when it has finished")
        return await self.status()

    async def close(self) -> None:
        """Stop the schedule and the run."""
        if self._schedule is not None:
            self._schedule.cancel()
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
        for task in (self._schedule, self._task):
            if task is not None:
                await asyncio.wait([task])

    async def _begin(self, call: Call, how: str, *, activate: bool, due_before: float | None = None) -> bool:
        """Start a run unless one is running, here or in another worker."""
        async with self._turn:
            state = await self._claim(call, how, due_before=due_before)
            if state is not None:
                self._task = asyncio.create_task(self._run(state, activate=activate))
            return state is not None

    async def _claim(self, call: Call, how: str, *, due_before: float | None) -> dict[str, Any] | None:
        """Take the right to run for this process; None when somebody else has it, or ran since `due_before`."""
        base = _STAMP.sub("", self._server.generation.name)
        name = f"{base}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
        state = {**NOTHING, "how": how, "model": name, "started": time.time(), "outcome": "running", "owner": os.getpid()}

        def claim(connection: Connection) -> bool:
            kept = changes.read_setting(connection, "refit")
            if self._seen(kept)["running"] or (due_before is not None and kept is not None and kept["started"] > due_before):
                return False
            changes.put_setting(connection, "refit", state)
            key_id = None if call.key is None else call.key.key_id
            changes.add_audit(connection, key_id=key_id, action="refit", target=name, now=time.time())
            return True

        return state if await self._server.writer.change(claim) else None

    async def _run(self, state: dict[str, Any], *, activate: bool) -> None:
        outcome, detail, activated = "failed", "the server stopped", False
        try:
            code, detail = await self._fit(state)
            outcome = "done" if code == 0 else "stopped" if code < 0 else "failed"
            if outcome == "done" and activate:
                await self._server.activate(_NOBODY, state["model"])
                activated = True
        except (Problem, RecsmithError, OSError) as error:
            outcome, detail = "failed", str(error)
        ended = {"finished": time.time(), "outcome": outcome, "detail": detail or None, "activated": activated, "process": None}
        LOG.warning("refit %s: %s", state["model"], outcome, extra={"facts": {"detail": detail}})
        try:
            await self._server.writer.change(lambda connection: changes.put_setting(connection, "refit", {**state, **ended}))
        except Problem as problem:
            LOG.error("the end of a refit could not be written down: %s", problem)
        if outcome == "done":
            await asyncio.to_thread(self._tidy, state["model"])

    async def _fit(self, state: dict[str, Any]) -> tuple[int, str]:
        """The exit code of the process (below 0: the signal that ended it) and the last line that it wrote about itself."""
        server, folder, name = self._server, self._server.models_folder, self._server.generation.name
        base = self._run_folder if self._run_folder.name == name else folder / name
        words = [sys.executable, "-m", "recsmith", "refit", str(base), "--out", str(folder / state["model"])]
        words += ["--gently", "--update"] if state["how"] == "update" else ["--gently"]
        words += ["--kinds", ",".join(server.config.history_kinds)]
        words += [word for setting in self._settings.settings for word in ("--set", setting)]
        # the store is no argument: others may read those
        known = {f"{PREFIX}STORE": server.store.url.render_as_string(hide_password=False)}
        silent, pipe = asyncio.subprocess.DEVNULL, asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *words, stdin=silent, stdout=silent, stderr=pipe, env={**os.environ, **known}, start_new_session=True
        )
        assert self._process.stderr is not None
        process = {**state, "process": self._process.pid}
        await server.writer.change(lambda connection: changes.put_setting(connection, "refit", process))
        last = b""
        async for line in self._process.stderr:
            last = line.strip() or last
        return await self._process.wait(), last.decode("utf-8", "replace")[:500]

    async def _run_schedule(self) -> None:
        assert self._settings.every_hours is not None
        period = self._settings.every_hours * changes.HOUR
        begun = time.time()
        while True:
            await asyncio.sleep(min(_LOOK_SECONDS, period))
            try:
                if time.time() - begun < period or not await self._worth_it():
                    continue
                begun = time.time()
                await self._begin(_NOBODY, self._settings.how, activate=self._settings.activate, due_before=begun - period)
            except (Problem, StoreUnavailableError) as error:
                LOG.error("a scheduled refit is put off: %s", error)

    async def _worth_it(self) -> bool:
        """Whether nothing runs and there are enough new events."""
        if self._task is not None and not self._task.done():
            return False
        last = await self._server.ask(lambda store: store.last_event())
        return last - self._server.generation.feed_from >= self._settings.least_events

    def _seen(self, kept: dict[str, Any] | None) -> dict[str, Any]:
        """The state as it is: a run has failed when its process and the server that would have written down its end are both gone."""
        if kept is None:
            return NOTHING
        shown = {name: kept[name] for name in NOTHING}
        if kept["outcome"] != "running":
            return shown
        owner = kept["owner"]
        watched = _alive(owner) and (owner != os.getpid() or self._task is None or not self._task.done())
        if watched or _alive(kept["process"]):
            return {**shown, "running": True, "outcome": None}
        return {**shown, "outcome": "failed", "detail": "the server stopped before the run had ended", "process": None}

    def _tidy(self, newest: str) -> None:
        """Delete the oldest of the runs that were made here, beyond those to keep."""
        server = self._server
        base = _STAMP.sub("", newest)
        made = sorted(path for path in server.models_folder.iterdir() if path.is_dir() and _made_here(path, base))
        needed = {server.previous_name, *(generation.name for generation in server.generations)}  # arms of experiments too
        for path in made[: -self._settings.keep]:
            if path.name not in needed:
                shutil.rmtree(path)
                LOG.warning("deleted the old run %s", path.name)


def _made_here(path: Path, base: str) -> bool:
    return _STAMP.search(path.name) is not None and _STAMP.sub("", path.name) == base


def _alive(process: int | None) -> bool:
    if process is None:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
