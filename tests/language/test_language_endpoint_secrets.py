"""The API key of an endpoint: it is sent to that endpoint, and stands nowhere else, whatever the server does with it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from recsmith.errors import BackendError, UserError
from recsmith.language import AnswerCache, EndpointBackend, EndpointConfig, Prompt, Retries, ask
from recsmith.language.asker import Asker
from recsmith.language.template import load_template
from recsmith.language.writers.provenance import provenance_of

SECRET = "sk-very-secret-0123456789"
PARTS = [SECRET[start : start + 8] for start in range(len(SECRET) - 7)]
ECHOES = [(name, False) for name in ("echo-400", "echo-long-400", "echo-text", "echo-late", "echo-model", "echo-header")]


def prompts(count: int) -> list[Prompt]:
    return [Prompt.of(f"question {index}") for index in range(count)]


@pytest.fixture
def backend(endpoint, monkeypatch: pytest.MonkeyPatch) -> EndpointBackend:
    monkeypatch.setenv("SOME_KEY", SECRET)
    return endpoint.backend(key_variable="SOME_KEY", retries=Retries(attempts=2, first_wait=0.0))


def hidden(*places: object) -> bool:
    return not any(part in str(place) for part in PARTS for place in places)


def stored(folder: Path) -> str:
    return b"".join(path.read_bytes() for path in folder.iterdir()).decode("latin-1")


def test_the_key_is_sent_and_appears_nowhere(endpoint, backend, caplog, tmp_path: Path) -> None:
    endpoint.behave(key=SECRET)
    with caplog.at_level(logging.DEBUG), AnswerCache(tmp_path / "answers.sqlite") as cache:
        ask(prompts(1), backend, cache=cache)
        endpoint.behave(key="another")
        with pytest.raises(BackendError, match=r"status 401: Incorrect API key provided: \[key\].*`key_variable`") as error:
            ask(prompts(2), backend, cache=cache)
        assert hidden(caplog.text, error.value, repr(backend.config), backend.name, stored(tmp_path))


@pytest.mark.parametrize(("fault", "streaming"), [*ECHOES, ("echo-400", True), ("echo-event", True)])
def test_servers_that_repeat_the_key_do_not_spread_it(endpoint, backend, caplog, tmp_path: Path, fault: str, streaming: bool) -> None:
    backend = EndpointBackend(backend.config.override(streaming=streaming))
    endpoint.behave(rate=1.0, faults=[fault])
    with caplog.at_level(logging.DEBUG), AnswerCache(tmp_path / "answers.sqlite") as cache:
        asker = Asker(backend, cache=cache, on_failure="keep")
        assert asker.ask(prompts(2)) == [None, None]
        kept = ask(prompts(2), backend, cache=cache, on_failure="keep")
        with pytest.raises(BackendError) as error:
            ask(prompts(1), backend, cache=cache)
        record = provenance_of("llmrec", asker, [load_template("choose-likes")], split=None, written=0)
        ours = [entry for entry in caplog.records if fault != "echo-header" or not entry.name.startswith("httpcore")]
        assert hidden(
            "".join(entry.getMessage() for entry in ours),
            error.value,
            error.value.__cause__,
            kept,
            record,
            asker.figures(),
            stored(tmp_path),
        )
    assert "[key]" in str(error.value)


def test_a_stream_that_repeats_the_key_does_not_spread_it(endpoint, backend) -> None:
    endpoint.behave(rate=1.0, faults=["echo-event"])

    async def pieces() -> None:
        try:
            async for _ in backend.stream(Prompt.of("a question")):
                pass
        finally:
            await backend.close()

    with pytest.raises(BackendError, match=r"its stream reports an error: cannot serve \[key\]") as error:
        asyncio.run(pieces())
    assert hidden(error.value)


@pytest.fixture
def stranger() -> Iterator[ThreadingHTTPServer]:
    """A second server, which must never be asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.server.asked += 1  # type: ignore[attr-defined]
            self.send_response(200)
            self.end_headers()

        do_GET = do_POST

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = 0  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_redirects_to_another_server_are_refused(endpoint, backend, stranger) -> None:
    endpoint.behave(rate=1.0, faults=["moved"], location=f"http://127.0.0.1:{stranger.server_port}/v1/chat/completions")
    with pytest.raises(BackendError, match=r"status 307.*the address has moved: give the new one"):
        ask(prompts(1), backend)
    assert (endpoint.stats()["calls"], stranger.asked) == (1, 0)


def test_keys_that_cannot_be_sent_are_refused_without_repeating_them(endpoint, backend, monkeypatch) -> None:
    monkeypatch.setenv("SOME_KEY", f"{SECRET}\n{SECRET}")
    with pytest.raises(UserError, match="the key in the environment variable `SOME_KEY` holds spaces or signs beyond ASCII") as error:
        ask(prompts(1), backend)
    assert hidden(error.value)
    monkeypatch.setenv("SOME_KEY", f"{SECRET}\n")
    endpoint.behave(key=SECRET)
    assert ask(prompts(1), backend).texts == ["answer to question 0"]


@pytest.mark.parametrize("url", ["http://name:word@host/v1", "https://host/v1?key=1"])
def test_addresses_with_secrets_are_refused(url: str) -> None:
    with pytest.raises(UserError, match="leave them out and put the key into an environment variable"):
        EndpointBackend(EndpointConfig(url=url, model="tiny"))
