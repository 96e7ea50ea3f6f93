"""Answers and events a second of `recsmith serve`, loaded from a second process on loopback.

    python benchmarks/serving_load.py [--recipe sasrec] [--items 12000] [--seconds 10] [--connections 32] [--kills 0] [--people N]

Answers are measured three times: as many as `--connections` can get, one after the other, and at a steady half of what was reached (or at
`--rate`), where the time of an answer counts from the moment at which it should have been asked for. `--people` writes so many people with
ten events each into the store first; half of the questions are then theirs. The weights are untrained: the arithmetic is the same. No
answer is kept, and each person has an average history of nine events in the run. SQLite, durable, in a
folder of the system's temporary place.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from answer_latency import make_data, untrained

from recsmith.serving.client import Client


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="sasrec")
    parser.add_argument("--items", type=int, default=12_000)
    parser.add_argument("--beams", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rate", type=float, help="answers a second of the steady load; default: half of what was reached")
    parser.add_argument("--people", type=int, default=0, help="people with ten events each in the store")
    parser.add_argument("--kills", type=int, default=0, help="kill -9 so often under a load of events, and count what is lost")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        untrained(arguments.recipe, make_data(arguments.items), arguments.beams).save(run)
        if arguments.people:
            fill(folder, arguments.people, arguments.items)
        measure(run, Path(folder), arguments)


def measure(run: Path, folder: Path, arguments: Any) -> None:
    process, url = start(run, folder, 0)
    port = int(url.rpartition(":")[2])
    try:
        seconds, connections = arguments.seconds, arguments.connections
        print(f"{arguments.recipe}, {arguments.items:,} items; load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        reached = timed(process.pid, port, f"answers, {connections} connections", questions(arguments.people), seconds, connections)
        timed(process.pid, port, "answers, one connection", questions(arguments.people), seconds / 2, 1)
        rate = arguments.rate or reached / 2
        timed(process.pid, port, f"answers, steady {rate:,.0f} / s", questions(arguments.people), seconds, connections, rate=rate)
        timed(process.pid, port, "events, batches of 100", batches(), seconds / 2, 4, each=100)
        timed(process.pid, port, f"events, single, {connections} connections", singles(), seconds / 2, connections)
        print(f"event visible in the next answer after {1000 * visible(url):.1f} ms (median, from sending it to having the answer)")
        print(f"resident memory of the server: {resident(process.pid):.0f} MB")
        if arguments.kills:
            process = crash(run, folder, process, port, arguments.kills)
    finally:
        process.kill()
        process.wait()


def start(run: Path, folder: Path, port: int) -> tuple[subprocess.Popen[str], str]:
    program = str(Path(sys.executable).with_name("recsmith"))
    words = [program, "serve", str(run), "--open", "--port", str(port), "--store", f"sqlite:///{folder / 'state.db'}"]
    began = time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RECSMITH_SERVE_CACHE_ANSWERS": "0"}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=(folder / "log").open("a"), text=True, env=environment)
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"http://\S+:\d+", line)
    assert found, (folder / "log").read_text()
    while True:
        try:
            Client(found[0]).ready()
            break
        except OSError:
            time.sleep(0.01)
    print(f"ready after {time.perf_counter() - began:.1f} s")
    return process, found[0]


def fill(folder: str, people: int, items: int) -> None:
    """Events of people, written straight into the tables that the server will open."""
    from recsmith.serving.config import ServerConfig
    from recsmith.serving.heat import heat_of
    from recsmith.serving.store import Store

    store = Store(f"sqlite:///{folder}/state.db")
    heat_of(store, ServerConfig())  # as a server does at its first start, so that the next one need not count the feed
    store.close()
    began = time.perf_counter()
    with sqlite3.connect(f"{folder}/state.db") as database:
        row = "INSERT INTO events (event_id, user_id, item_id, kind, time, value, received) VALUES (?, ?, ?, 'view', ?, 1.0, 0.0)"
        each = ((user, place) for user in range(people) for place in range(10))
        database.executemany(
            row, ((f"e{user:07d}{place}", f"p{user:07d}", str((user * 31 + place * 977) % items), float(place)) for user, place in each)
        )
        database.execute("INSERT INTO item_counts SELECT item_id, count(*), 0.0 FROM events GROUP BY item_id")
    print(f"{people:,} people with {10 * people:,} events written in {time.perf_counter() - began:.0f} s")


# ---- load -----------------------------------------------------------------------------------------------------------------


def questions(people: int = 0) -> Any:
    """GETs, each for another person of the run; every second one for one of `people` in the store."""
    for number in count():
        user = f"p{7919 * number % people:07d}" if people and number % 2 else number % 20_000
        yield f"GET /recommend/{user}?k=10&deadline_ms=60000 HTTP/1.1\r\nhost: x\r\n\r\n".encode()


def batches() -> Any:
    mark = random.getrandbits(64)
    for number in count():
        events = [{"event_id": f"{mark} {number} {place}", "user_id": place, "item_id": number % 1000} for place in range(100)]
        yield post("/events/batch", {"events": events})


def singles() -> Any:
    mark = random.getrandbits(64)
    for number in count():
        yield post("/events", {"event_id": f"{mark} {number}", "user_id": number % 1000, "item_id": number % 1000})


def count() -> Any:
    number = 0
    while True:
        yield number
        number += 1


def post(path: str, document: dict[str, Any]) -> bytes:
    body = json.dumps(document).encode()
    return f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def timed(
    pid: int, port: int, what: str, requests: Any, seconds: float, connections: int, *, each: int = 1, rate: float | None = None
) -> float:
    """One line of the table; returns what was done a second."""
    before, own = used(pid), time.process_time()
    taken, wall = asyncio.run(load(port, requests, seconds, connections, rate))
    report(what, taken, wall, each, used(pid) - before, time.process_time() - own)
    return each * len(taken) / wall


async def load(port: int, requests: Any, seconds: float, connections: int, rate: float | None = None) -> tuple[list[float], float]:
    """Seconds of each request that was answered, and of all together; raises when one was refused or degraded.

    With a `rate`, request n is due at n / rate, and its time counts from then on, also while all connections are busy.
    """
    began_all = time.perf_counter()
    end = began_all + seconds
    taken: list[float] = []
    turns = itertools.count()

    async def worker() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            began = time.perf_counter()
            if rate is not None:
                began = began_all + next(turns) / rate
                await asyncio.sleep(max(0.0, began - time.perf_counter()))
            writer.write(next(requests))
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(re.search(rb"content-length: (\d+)", head)[1])  # type: ignore[index]
            body = await reader.readexactly(length)
            if not head.startswith(b"HTTP/1.1 200") or b'"degraded":["' in body:
                raise RuntimeError(body.decode())
            taken.append(time.perf_counter() - began)
        writer.close()

    await asyncio.gather(*(worker() for _ in range(connections)))
    return taken, time.perf_counter() - began_all


def report(what: str, taken: list[float], wall: float, each: int, cpu: float, own: float) -> None:
    """`cpu`, `own`: seconds of processor time of the server and of this load; on a machine that is shared, only they say what it costs."""
    ordered = sorted(taken)
    middle, high = statistics.median(ordered), ordered[int(0.99 * (len(ordered) - 1))]
    done = each * len(taken)
    print(
        f"{what:34s} {done / wall:8,.0f} / s   p50 {1000 * middle:7.2f} ms   p99 {1000 * high:7.2f} ms   "
        f"{1000 * cpu / done:6.3f} ms of CPU each, so {done / cpu:8,.0f} a CPU second; the load itself {1000 * own / done:.3f} ms"
    )


def used(pid: int) -> float:
    """Seconds of processor time."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def visible(url: str) -> float:
    """Seconds from sending an event to an answer that no longer holds the item."""
    taken = []
    with Client(url) as client:
        for number in range(30):
            user = f"watcher {number}"
            client.add_event(user, number + 5)
            item = client.recommend(user, k=5)["items"][0]["item_id"]
            began = time.perf_counter()
            client.add_event(user, item)
            answer = client.recommend(user, k=5)
            taken.append(time.perf_counter() - began)
            assert item not in [row["item_id"] for row in answer["items"]]
    return statistics.median(taken)


def resident(pid: int) -> float:
    """MB."""
    fields = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", fields)[1]) / 1024  # type: ignore[index]


# ---- crashes --------------------------------------------------------------------------------------------------------------


def crash(run: Path, folder: Path, process: subprocess.Popen[str], port: int, kills: int) -> subprocess.Popen[str]:
    acknowledged: set[str] = set()
    for number in range(kills):
        asyncio.run(until_killed(port, process, number, acknowledged))
        process.wait()
        process, _ = start(run, folder, port)
    kept: list[str] = []
    after = 0
    with Client(f"http://127.0.0.1:{port}") as client:
        while page := client.feed(after=after, limit=1000)["events"]:
            kept += [row["event_id"] for row in page]
            after = page[-1]["seq"]
    lost, doubled = len(acknowledged - set(kept)), len(kept) - len(set(kept))
    print(f"{kills} x kill -9: {len(acknowledged):,} events acknowledged, {lost} lost, {doubled} doubled")
    return process


async def until_killed(port: int, process: subprocess.Popen[str], number: int, acknowledged: set[str]) -> None:
    async def worker(name: int) -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for place in count():
                event = f"kill {number} {name} {place}"
                writer.write(post("/events", {"event_id": event, "user_id": name, "item_id": place % 100}))
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(re.search(rb"content-length: (\d+)", head)[1]))  # type: ignore[index]
                if head.startswith(b"HTTP/1.1 200"):
                    acknowledged.add(event)
        except (OSError, asyncio.IncompleteReadError):
            return

    workers = [asyncio.create_task(worker(name)) for name in range(16)]
    await asyncio.sleep(random.uniform(0.05, 0.6))
    process.kill()
    await asyncio.gather(*workers)


if __name__ == "__main__":
    main()
