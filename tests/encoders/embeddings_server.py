"""An `/embeddings` endpoint on this machine, over real HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar


class Loopback(ThreadingHTTPServer):
    """Keeps the keys that it is sent."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.keys: list[str | None] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


Kind = TypeVar("Kind", bound=Loopback)


@contextmanager
def running(server: Kind) -> Iterator[Kind]:
    """The server, answering from a thread of its own."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Server(Loopback):
    """Speaks `/embeddings`; `faults` says how to answer the next requests."""

    def __init__(self) -> None:
        super().__init__(Handler)
        self.faults: list[Any] = []
        self.asked: list[dict[str, Any]] = []


class QuietHandler(BaseHTTPRequestHandler):
    """Writes nothing to the terminal."""

    def log_message(self, *_: Any) -> None:
        pass


class Handler(QuietHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        self.server.keys.append(self.headers.get("Authorization"))
        fault = self.server.faults.pop(0) if self.server.faults else None
        if fault == "cut":
            self.connection.close()
            return
        if isinstance(fault, int):
            self.send_response(fault)
            self.send_header("Retry-After", "0")
            self.end_headers()
            return
        rows = [{"index": place, "embedding": [len(text), 1.0]} for place, text in enumerate(body["input"])]
        content = b"<html>" if fault == "html" else json.dumps({"data": rows[::-1]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
