"""Many prompts through HTTP with faults, and kills: a real server process on loopback that misbehaves on purpose.

    python benchmarks/language_endpoint.py [--prompts 1000] [--concurrency 32] [--latency 1] [--rounds 1] [--kills 3]

Prints the seconds without and with 10 % faults (429, 500, cut bodies, hang-ups, malformed JSON, wrong model, slow beyond the timeout)
and their ratio, within one run; then kills a job at random moments, restarts it, and prints how many calls were paid for in all.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from recsmith.language import AnswerCache, EndpointBackend, EndpointConfig, Prompt, ask

SERVER = Path(__file__).parents[1] / "tests" / "language" / "endpoint_server.py"
FAULTS = ["429", "500", "cut", "hang-up", "malformed", "wrong-model", "empty", "slow"]


class Endpoint:
    """The server process."""

    def __init__(self) -> None:
        self.process = subprocess.Popen([sys.executable, str(SERVER)], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.address = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def behave(self, **behaviour: object) -> None:
        """Set how it behaves; counts start anew."""
        urllib.request.urlopen(urllib.request.Request(f"{self.address}/behave", data=json.dumps(behaviour).encode())).read()

    def stats(self) -> dict:
        """What it counted."""
        return json.loads(urllib.request.urlopen(f"{self.address}/stats").read())


def prompts(count: int) -> list[Prompt]:
    """Distinct questions."""
    return [Prompt.of(f"question {index}") for index in range(count)]


def backend(url: str, concurrency: int, latency: float) -> EndpointBackend:
    """A backend with its default retries; slow answers take longer than its timeout."""
    return EndpointBackend(EndpointConfig(url=url, model="tiny", concurrency=concurrency, timeout=6 * latency))


def job(url: str, cache: str, count: int, concurrency: int, latency: float) -> None:
    """What a killed process runs."""
    with AnswerCache(cache) as answers:
        done = ask(prompts(count), backend(url, concurrency, latency), cache=answers)
    assert done.texts == [f"answer to question {index}" for index in range(count)]


def timed(endpoint: Endpoint, arguments: argparse.Namespace, *, rate: float, seed: int) -> tuple[float, dict]:
    """Seconds of one job in this process, and the server's counts."""
    slow = 8 * arguments.latency
    endpoint.behave(rate=rate, faults=FAULTS, latency=arguments.latency, slow=slow, seed=seed)
    started = time.perf_counter()
    answers = ask(prompts(arguments.prompts), backend(f"{endpoint.address}/v1", arguments.concurrency, arguments.latency))
    seconds = time.perf_counter() - started
    assert answers.texts == [f"answer to question {index}" for index in range(arguments.prompts)]
    return seconds, endpoint.stats()


def kill_once(endpoint: Endpoint, arguments: argparse.Namespace, seed: int) -> None:
    """Kill a job at a random moment, restart it, and print what was paid."""
    endpoint.behave(latency=0.05)
    after = random.Random(seed).randint(1, arguments.prompts - 1)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--job", f"{endpoint.address}/v1", f"{folder}/answers.sqlite"]
        command += ["--prompts", str(arguments.prompts), "--concurrency", str(arguments.concurrency), "--latency", "2"]
        process = subprocess.Popen(command)
        while endpoint.stats()["paid"] < after and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        first = endpoint.stats()["paid"]
        subprocess.run(command, check=True)
    stats = endpoint.stats()
    twice = sum(count > 1 for count in stats["paid_prompts"].values())
    print(f"  killed after {first} paid answers: {stats['paid']} paid in all, {stats['paid'] - arguments.prompts} more than prompts "
          f"(at most {arguments.concurrency} were under way), {twice} asked twice", flush=True)  # fmt: skip


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--latency", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--job", nargs=2, metavar=("URL", "CACHE"))
    arguments = parser.parse_args()
    if arguments.job:
        url, cache = arguments.job
        job(url, cache, arguments.prompts, arguments.concurrency, arguments.latency)
        return
    endpoint = Endpoint()
    try:
        print(f"{arguments.prompts} prompts, concurrency {arguments.concurrency}, {arguments.latency:g} s a call", flush=True)
        for seed in range(arguments.rounds):
            plain, _ = timed(endpoint, arguments, rate=0.0, seed=seed)
            faulty, stats = timed(endpoint, arguments, rate=0.1, seed=seed)
            most = max(stats["paid_prompts"].values())
            print(f"  no faults {plain:.1f} s, with {sum(stats['faults'].values())} faults {faulty:.1f} s, ratio {faulty / plain:.2f}; "
                  f"{stats['paid']} answers paid, {len(stats['paid_prompts'])} distinct, at most {most} each, "
                  f"{stats['most_at_once']} at once at most", flush=True)  # fmt: skip
        for seed in range(arguments.kills):
            kill_once(endpoint, arguments, seed)
    finally:
        endpoint.process.terminate()


if __name__ == "__main__":
    main()
