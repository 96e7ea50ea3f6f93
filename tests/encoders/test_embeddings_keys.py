"""The key of an embeddings endpoint: it goes to that endpoint alone and stands in no message."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from embeddings_server import Loopback, QuietHandler, Server, running

from recsmith.encoders import EncoderConfig, HttpEmbeddings, make_encoder
from recsmith.errors import BackendError, UserError

SECRET = "sk-very-secret-0123456789"


class Careless(Loopback):
    """Answers everything with `status`, repeats the key as the reason, and points to `location`."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.status, self.location = 401, ""


class _Handler(QuietHandler):
    server: Careless

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.keys.append(self.headers.get("Authorization"))
        self.send_response(self.server.status, f"not with {SECRET}")
        self.send_header("Retry-After", "0")
        self.send_header("Location", self.server.location)
        self.end_headers()

    do_GET = do_POST


@pytest.fixture
def careless() -> Iterator[Careless]:
    with running(Careless()) as found:
        yield found


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECSMITH_EMBEDDINGS_KEY", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_refused_and_take_the_key_nowhere(server: Server, careless: Careless, status: int) -> None:
    careless.status, careless.location = status, f"{server.address}/embeddings"
    with pytest.raises(BackendError, match=rf"said {status} .*the address has moved, and redirects are not followed"):
        HttpEmbeddings(careless.address, "tiny")(["a"])
    assert (careless.keys, server.keys) == ([f"Bearer {SECRET}"], [])


def test_proxies_for_http_do_not_see_the_key(server: Server, careless: Careless, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", careless.address)
    assert HttpEmbeddings(server.address, "tiny")(["ab"]) == [[2, 1.0]]
    assert (careless.keys, server.keys) == ([], [f"Bearer {SECRET}"])


@pytest.mark.parametrize(("status", "tries"), [(401, 1), (500, 2)])
def test_a_server_that_repeats_the_key_does_not_spread_it(careless: Careless, status: int, tries: int) -> None:
    careless.status = status
    with pytest.raises(BackendError, match=rf"said {status} not with \[key\] \({tries} tries\)") as error:
        HttpEmbeddings(careless.address, "tiny", first_pause=0.01, tries=2)(["a"])
    assert SECRET[:8] not in str(error.value)


def test_keys_that_cannot_be_sent_are_refused_without_repeating_them(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"{SECRET}\n{SECRET}")
    with pytest.raises(UserError, match="the key in the environment variable `OPENAI_API_KEY` holds spaces") as error:
        HttpEmbeddings(server.address, "tiny")(["a"])
    assert SECRET[:8] not in str(error.value)
    assert server.keys == []


@pytest.mark.parametrize("name", ["http://me:password@host/v1#tiny", "http://me:password@host/v1", "https://host/v1?key=password#tiny"])
def test_addresses_with_secrets_are_refused_and_not_repeated(name: str) -> None:
    with pytest.raises(UserError, match="leave them out and put the key into an environment variable") as error:
        make_encoder(EncoderConfig(name=name))
    assert "password" not in str(error.value)
