"""What goes wrong around a server, and what becomes of what it had acknowledged. Prints one row per fault.

    python benchmarks/serving_faults.py [--only kills,disk,postgres,redis,cache,slow,clock,swap] [--kills 200]

Every fault happens under load. *lost*: acknowledged events that are not in the feed; *doubled*: events that are there twice; *wrong*:
answers that do not fit (an answer without the event before it, or one that is not its model's list); *5xx*: refusals other than 503 beyond
requests in flight; *recovery*: seconds from the end of the fault to the first answer without complaint.

PostgreSQL and Redis are started for the run and must be installed (`make setup` does). The full disk is a small file system in memory,
which root may mount; others get a limit on the size of files. The clock is that of Python's `time.time` in the server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from answer_latency import make_data, untrained
from tests.serving.services import running_postgres, running_redis

from recsmith.serving.client import Client, ClientError

ITEMS = 2000


@dataclass
class Row:
    """One line of the table."""

    what: str
    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    others: int = 0
    recovery: list[float] = field(default_factory=list)
    note: str = ""

    def __str__(self) -> str:
        slowest = f"{max(self.recovery):5.1f} s" if self.recovery else "      –"
        counts = "".join(f"{number:9,d}" for number in (self.acknowledged, self.lost, self.doubled, self.wrong, self.others))
        return f"{self.what:34s}{counts}   {slowest}   {self.note}"


class Served:
    """One `recsmith serve`, which may be killed and started again on the same store and port."""

    def __init__(self, folder: Path, store: str | None = None, **settings: Any) -> None:
        self.folder = folder
        self.store = store or f"sqlite:///{folder / 'state.db'}"
        self.port = 0
        self.environment: dict[str, str] = {}
        self.prepare: Callable[[], None] | None = None
        self.settings = folder / "serve.toml"
        self.settings.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))

    def start(self, run: Path) -> Served:
        """Wait until it serves."""
        words = [str(Path(sys.executable).with_name("recsmith")), "serve", str(run), "--open", "--port", str(self.port)]
        self.process = subprocess.Popen(
            [*words, "--store", self.store, "--config", str(self.settings)],
            stdout=subprocess.PIPE,
            stderr=(self.folder / "log").open("a"),
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **self.environment},
            preexec_fn=self.prepare,
        )
        assert self.process.stdout is not None
        found = re.search(r"http://[\d.]+:(\d+)", self.process.stdout.readline())
        STARTED.append(self.process)
        assert found, (self.folder / "log").read_text()[-3000:]
        self.port = int(found[1])
        return self

    def client(self) -> Client:
        return Client(f"http://127.0.0.1:{self.port}")

    def recovered(self) -> float:
        """Seconds until it is ready and takes an event in."""
        began = time.perf_counter()
        while time.perf_counter() < began + 60:
            try:
                with self.client() as client:
                    if client.ready()["status"] == "ready":
                        client.add_event("recovery", "1")
                        return time.perf_counter() - began
            except (OSError, ClientError):
                pass
            time.sleep(0.02)
        raise AssertionError("the server did not recover in a minute")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)


STARTED: list[subprocess.Popen[str]] = []
"""Servers that must not outlive this program, whatever becomes of it."""

# ---- load -----------------------------------------------------------------------------------------------------------------


class Load:
    """Events, single and in batches, and lists in between, on several connections until stopped."""

    def __init__(self, port: int, name: str, connections: int = 8) -> None:
        self.port, self.name, self.connections = port, name, connections
        self.acknowledged: set[str] = set()
        self.statuses: Counter[int] = Counter()
        self.stopped = False

    async def run(self, meanwhile: Callable[[], Any]) -> None:
        """The load, while `meanwhile` does its harm in a thread."""
        workers = [asyncio.create_task(self._work(number)) for number in range(self.connections)]
        await asyncio.to_thread(meanwhile)
        self.stopped = True
        await asyncio.gather(*workers)

    async def _work(self, worker: int) -> None:
        number = 0
        while not self.stopped:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                while not self.stopped:
                    number += 1
                    await self._ask(reader, writer, worker, number)
                writer.close()
            except (OSError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.02)

    async def _ask(self, reader: Any, writer: Any, worker: int, number: int) -> None:
        size = 1 if number % 4 else 20
        ids = [f"{self.name} {worker} {number} {place}" for place in range(size)]
        events = [{"event_id": name, "user_id": f"{self.name} {worker}", "item_id": str(number % ITEMS)} for name in ids]
        status, _ = await ask(reader, writer, "POST", "/events/batch", {"events": events})
        self.statuses[status] += 1
        if status == 200:
            self.acknowledged.update(ids)
        if number % 3 == 0:
            status, _ = await ask(reader, writer, "GET", f"/recommend/{number % 20_000}?k=10")
            self.statuses[status] += 1

    def judge(self, row: Row, server: Served) -> Row:
        """Compare what was acknowledged with the feed."""
        kept: Counter[str] = Counter()
        after = 0
        with server.client() as client:
            while page := client.feed(after=after, limit=1000)["events"]:
                assert [event["seq"] for event in page] == sorted(event["seq"] for event in page)
                kept.update(event["event_id"] for event in page)
                after = page[-1]["seq"]
        row.acknowledged += len(self.acknowledged)
        row.lost += len(self.acknowledged - set(kept))
        row.doubled += sum(number - 1 for number in kept.values())
        row.others += sum(number for status, number in self.statuses.items() if status >= 500 and status != 503)
        return row


async def ask(reader: Any, writer: Any, method: str, path: str, document: Any = None) -> tuple[int, dict[str, Any]]:
    body = b"" if document is None else json.dumps(document).encode()
    head = f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    answer = await reader.readuntil(b"\r\n\r\n")
    found = re.search(rb"content-length: (\d+)", answer)
    assert found
    return int(answer.split(b" ", 2)[1]), json.loads(await reader.readexactly(int(found[1])))


def under_load(server: Served, name: str, harm: Callable[[], Any]) -> Load:
    load = Load(server.port, name)
    asyncio.run(load.run(harm))
    return load


# ---- faults ---------------------------------------------------------------------------------------------------------------


def kills(folder: Path, runs: Path, count: int) -> Row:
    row = Row(f"{count} x kill -9")
    server = Served(folder).start(runs / "one")
    with server.client() as client:
        client.live()
    loads = []
    for number in range(count):

        def kill() -> None:
            time.sleep(random.uniform(0.05, 0.6))
            server.process.kill()

        loads.append(under_load(server, f"kill {number}", kill))
        server.process.wait()
        began = time.perf_counter()
        server.start(runs / "one")
        server.recovered()
        row.recovery.append(time.perf_counter() - began)
    everything = Load(server.port, "all")
    everything.acknowledged = set().union(*(load.acknowledged for load in loads))
    everything.statuses = sum((load.statuses for load in loads), Counter())
    everything.judge(row, server)
    server.stop()
    return row


def disk(folder: Path, runs: Path) -> Row:
    small = folder / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(small)], stderr=subprocess.DEVNULL).returncode == 0
    row = Row("full disk", note="6 MB in memory, filled and cleared" if mounted else "limit on the size of files, lifted by a restart")
    try:
        server = Served(folder, f"sqlite:///{small / 'state.db'}")
        if not mounted:
            server.prepare = _small_files
        server.start(runs / "one")

        def fill() -> None:
            time.sleep(1)
            if mounted:
                with (small / "ballast").open("wb") as ballast:
                    _write_until_full(ballast)
            time.sleep(3)
            if mounted:
                (small / "ballast").unlink()
                row.recovery.append(server.recovered())

        load = under_load(server, "disk", fill)
        if not mounted:
            server.stop()
            server.prepare = None
            server.start(runs / "one")
            row.recovery.append(server.recovered())
        load.judge(row, server)
        row.note += f"; {load.statuses[503]} x 503"
        server.stop()
    finally:
        if mounted:
            subprocess.run(["umount", str(small)], check=True)
    return row


def _small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (6 * 2**20, 6 * 2**20))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def _write_until_full(file: Any) -> None:
    try:
        while True:
            file.write(b"x" * 65536)
            file.flush()
    except OSError:
        return


def postgres(folder: Path, runs: Path) -> Row:
    row = Row("PostgreSQL stopped and started")
    with running_postgres() as database:
        server = Served(folder, database.url).start(runs / "one")

        def restart() -> None:
            for _ in range(2):
                time.sleep(1.5)
                database.stop()
                time.sleep(1)
                database.start()
                row.recovery.append(server.recovered())

        load = under_load(server, "postgres", restart)
        load.judge(row, server)
        row.note = f"immediate shutdown, twice; {load.statuses[503]} x 503"
        server.stop()
    return row


def redis(folder: Path, runs: Path) -> Row:
    """Two workers: an event by one connection, then a list by another, which must not hold the item."""
    row = Row("Redis killed and started")
    with running_postgres() as database, running_redis() as service:
        server = Served(folder, database.url, redis=service.url, workers=2).start(runs / "one")

        def harm() -> None:
            time.sleep(1)
            _crossings(server, row, "with redis", 30)
            service.stop()
            _crossings(server, row, "without redis", 60)
            service.start()
            row.recovery.append(server.recovered())
            _crossings(server, row, "again", 30)

        under_load(server, "redis", harm).judge(row, server)
        row.note = "2 workers; 120 events, each looked for through another connection"
        server.stop()
    return row


def cache(folder: Path, runs: Path) -> Row:
    """Rubbish in every key that workers share."""
    import redis as library

    row = Row("rubbish in Redis")
    with running_postgres() as database, running_redis() as service:
        server = Served(folder, database.url, redis=service.url, workers=2).start(runs / "one")

        def harm() -> None:
            client = library.Redis(port=service.port)
            for turn in range(4):
                _crossings(server, row, f"rubbish {turn}", 10)
                for key in client.scan_iter("recsmith:*"):
                    with client.pipeline() as both:  # one step, because the servers write the same keys
                        both.delete(key)
                        both.set(key, os.urandom(9).hex()) if turn % 2 else both.hset(key, "left", "rubbish")
                        both.execute()
            row.recovery.append(server.recovered())

        under_load(server, "cache", harm).judge(row, server)
        row.note = "2 workers; every shared key overwritten, four times"
        server.stop()
    return row


def _crossings(server: Served, row: Row, name: str, count: int) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(server.client()) for _ in range(6)]
        for number in range(count):
            one, other = random.sample(clients, 2)
            shown = [item["item_id"] for item in one.recommend("crossing", k=5)["items"]]
            one.add_event("crossing", shown[0], event_id=f"{name} {number}")
            row.wrong += shown[0] in [item["item_id"] for item in other.recommend("crossing", k=5)["items"]]


def slow(folder: Path, runs: Path) -> Row:
    """A model that is slower than the deadline, under more load than it can bear."""
    row = Row("model slower than its deadline")
    server = Served(folder, deadline_ms=60, max_batch=1, max_waiting=16, cache_answers=0).start(runs / "slow")
    times: list[float] = []
    sources: Counter[str] = Counter()

    async def reader(worker: int) -> None:
        reading, writing = await asyncio.open_connection("127.0.0.1", server.port)
        for number in range(60):
            began = time.perf_counter()
            status, answer = await ask(reading, writing, "GET", f"/recommend/{worker * 60 + number}?k=10")
            times.append(time.perf_counter() - began)
            row.others += status >= 500
            sources["/".join([answer["source"], *answer["degraded"]])] += 1
        writing.close()

    async def everybody() -> None:
        await asyncio.gather(*(reader(worker) for worker in range(16)))

    load = under_load(server, "slow", lambda: asyncio.run(everybody()))
    load.judge(row, server)
    row.recovery.append(server.recovered())
    late = sorted(times)[int(0.99 * len(times))]
    row.note = f"deadline 60 ms: p99 {1000 * late:.0f} ms; " + ", ".join(f"{name} {number}" for name, number in sources.most_common())
    server.stop()
    return row


_CLOCK = """
import os, time
_real, _file = time.time, os.environ["CLOCK_FILE"]
def _jumping():
    with open(_file) as file:
        return _real() + float(file.read() or 0)
time.time = _jumping
"""


def clock(folder: Path, runs: Path) -> Row:
    row = Row("clock jumps by hours and years", note="of the server's time.time; people's histories stay in the order of the events")
    (folder / "sitecustomize.py").write_text(_CLOCK)
    offset = folder / "offset"
    offset.write_text("0")
    server = Served(folder)
    server.environment = {"PYTHONPATH": str(folder), "CLOCK_FILE": str(offset)}
    server.start(runs / "one")

    def jump() -> None:
        with server.client() as client:
            for number, hours in enumerate((1, -1, 24 * 365 * 30, -24 * 365 * 30, 0.5, 0)):
                time.sleep(0.5)
                offset.write_text(str(3600 * hours))
                shown = [item["item_id"] for item in client.recommend("jumper", k=5)["items"]]
                client.add_event("jumper", shown[0], event_id=f"jump {number}")
                row.wrong += shown[0] in [item["item_id"] for item in client.recommend("jumper", k=5)["items"]]
                row.wrong += client.user_history("jumper")["items"][-1]["item_id"] != shown[0]
                client.trending(k=5)
        row.recovery.append(server.recovered())

    under_load(server, "clock", jump).judge(row, server)
    server.stop()
    return row


def swap(folder: Path, runs: Path) -> Row:
    """Each answer is compared with the list that the model that it names gives."""
    row = Row("models swapped under load")
    server = Served(folder, cache_answers=1000).start(runs / "one")
    people = [str(number) for number in range(40)]
    lists: dict[tuple[str, str], list[str]] = {}
    answers: Counter[str] = Counter()

    def look(client: Client, person: str) -> tuple[str, list[str]]:
        answer = client.recommend(person, k=10, deadline_ms=60_000)
        return answer["model"], [item["item_id"] for item in answer["items"]]

    def harm() -> None:
        with server.client() as client:
            for model in ("one", "two"):
                client.activate_model(model)
                lists.update({(model, person): look(client, person)[1] for person in people})
        stop = time.perf_counter() + 8

        def swapping() -> None:
            with server.client() as client:
                while time.perf_counter() < stop:
                    client.activate_model(random.choice(["one", "two"]))
                    if random.random() < 0.3:
                        client.rollback_model()

        def reading() -> None:
            with server.client() as client:
                while time.perf_counter() < stop:
                    person = random.choice(people)
                    model, found = look(client, person)
                    answers[model] += 1
                    row.wrong += found != lists[model, person]

        async def all_of_it() -> None:
            await asyncio.gather(*(asyncio.to_thread(work) for work in (swapping, reading, reading, reading)))

        asyncio.run(all_of_it())
        row.recovery.append(server.recovered())

    under_load(server, "swap", harm).judge(row, server)
    row.note = ", ".join(f"{number} answers by {model}" for model, number in sorted(answers.items()))
    server.stop()
    return row


FAULTS = {"kills": kills, "disk": disk, "postgres": postgres, "redis": redis, "cache": cache, "slow": slow, "clock": clock, "swap": swap}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(FAULTS), help="which faults, separated by commas")
    parser.add_argument("--kills", type=int, default=200)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), arguments)
    finally:
        for process in STARTED:
            process.terminate()


def measure(folder: Path, arguments: Any) -> None:
    runs = folder / "runs"
    data = make_data(ITEMS)
    for name, recipe, beams in (("one", "sasrec", 20), ("two", "gru4rec", 20), ("slow", "tiger", 400)):
        untrained(recipe, data, beams).save(runs / name)
    print(f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"{'':34s}  events     lost  doubled    wrong      5xx   recovery")
    for name in arguments.only.split(","):
        (folder / name).mkdir()
        more = (arguments.kills,) if name == "kills" else ()
        print(FAULTS[name](folder / name, runs, *more), flush=True)  # type: ignore[operator]


if __name__ == "__main__":
    main()
