from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from recsmith.language import EndpointBackend, EndpointConfig, Retries

SCRIPT = Path(__file__).with_name("endpoint_server.py")


@dataclass
class Endpoint:
    """A real server process, and how to make it misbehave."""

    address: str

    @property
    def url(self) -> str:
        return f"{self.address}/v1"

    def behave(self, **behaviour: Any) -> None:
        request = urllib.request.Request(f"{self.address}/behave", data=json.dumps(behaviour).encode())
        urllib.request.urlopen(request, timeout=10).read()

    def stats(self) -> dict[str, Any]:
        return json.loads(urllib.request.urlopen(f"{self.address}/stats", timeout=10).read())

    def backend(self, **settings: Any) -> EndpointBackend:
        quick = Retries(first_wait=0.02, longest_wait=1.0)
        return EndpointBackend(EndpointConfig(**{"url": self.url, "model": "tiny", "retries": quick, "concurrency": 32} | settings))


@pytest.fixture(scope="session")
def endpoint_process() -> Iterator[Endpoint]:
    process = subprocess.Popen([sys.executable, str(SCRIPT)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Endpoint(f"http://127.0.0.1:{int(process.stdout.readline())}")
    finally:
        process.terminate()
        process.communicate(timeout=10)


@pytest.fixture
def endpoint(endpoint_process: Endpoint) -> Endpoint:
    endpoint_process.behave()
    return endpoint_process
