"""Running the server: traces, TLS, and the files under `deploy/`."""

from __future__ import annotations

import http.server
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.serving.conftest import ServerProcess, write_toml

from recsmith.cli.program import execute
from recsmith.errors import ConfigError, MissingExtraError
from recsmith.serving.client import Client
from recsmith.serving.config import ServerConfig, read_config
from recsmith.serving.requirements import require
from recsmith.serving.store import Store

DEPLOY = Path(__file__).parents[2] / "deploy"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def collector() -> Iterator[Any]:
    """An OTLP collector that keeps what it is sent."""
    received: list[bytes] = []

    class Keep(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Keep)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server, received
    server.shutdown()
    thread.join()
    server.server_close()


def test_traces_over_tls(serve: Callable[..., ServerProcess], collector: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("opentelemetry.sdk", reason="OpenTelemetry is not installed: pip install 'recsmith[traces]'")
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed, and the certificate is made by it")
    certificate, private_key = _certificate(tmp_path)
    listening, received = collector
    config = write_toml(
        tmp_path / "serve.toml",
        certificate=str(certificate),
        private_key=str(private_key),
        traces=f"http://127.0.0.1:{listening.server_port}/v1/traces",
    )
    trusting = ssl.create_default_context(cafile=certificate)
    monkeypatch.setattr(ssl, "create_default_context", lambda: trusting)
    server = serve("--config", str(config))
    assert server.url.startswith("https://")
    with server.client() as client:
        client._headers["traceparent"] = f"00-{TRACE}-00f067aa0ba902b7-01"
        client.add_event("a secret name", "secret item")
        client.recommend("a secret name")
    assert server.stop() == 0
    spans = _spans(received)
    names = [span.name for span in spans]
    assert {"POST /events", "GET /recommend/{user_id}", "model", "store"} <= set(names)
    event = next(span for span in spans if span.name == "POST /events")
    assert event.trace_id.hex() == TRACE
    assert {attribute.key: attribute.value.string_value or attribute.value.int_value for attribute in event.attributes} == {
        "http.request.method": "POST",
        "http.route": "/events",
        "http.response.status_code": 200,
    }
    assert next(span for span in spans if span.name == "store").parent_span_id == event.span_id
    assert b"secret" not in b"".join(received)


def test_a_stranger_to_the_certificate_does_not_connect(tmp_path: Path) -> None:
    """What a client does about a certificate that nobody vouches for is the standard library's business: it refuses."""
    assert Client("https://127.0.0.1:1")._connection._context.verify_mode == ssl.CERT_REQUIRED  # type: ignore[attr-defined]


def _certificate(folder: Path) -> tuple[Path, Path]:
    certificate, private_key = folder / "certificate.pem", folder / "key.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    made += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(private_key), "-out", str(certificate)]
    subprocess.run(made, check=True, capture_output=True)
    return certificate, private_key


def _spans(received: list[bytes]) -> list[Any]:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    requests = [ExportTraceServiceRequest.FromString(body) for body in received]
    return [span for request in requests for part in request.resource_spans for scope in part.scope_spans for span in scope.spans]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"traces": "localhost"}, "traces 'localhost' is no address; write http://127.0.0.1:4318/v1/traces"),
        ({"refit": {"every_hours": 0}}, "greater than 0"),
        ({"refit": {"evry_hours": 1}}, "unknown setting `serve.refit.evry_hours`; did you mean `every_hours`"),
        ({"search": "magic"}, "'words' or 'hybrid'"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        ServerConfig.parse(settings, where="serve")


def test_a_certificate_that_is_not_there_is_said_before_anything_is_loaded(runs: Path, tmp_path: Path, capsys: Any) -> None:
    config = write_toml(tmp_path / "serve.toml", certificate="no.pem", private_key="no.key")
    options = ["--store", f"sqlite:///{tmp_path / 's.db'}", "--config", str(config)]
    assert execute(["serve", str(runs / "first"), *options, "--check"]) == 2
    assert "certificate `no.pem` cannot be used" in capsys.readouterr().err


def test_what_a_setting_needs_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("redis", "redis.asyncio", "psycopg"):
        monkeypatch.setitem(sys.modules, module, None)
    store = "postgresql://shop@127.0.0.1:1/shop"
    with pytest.raises(MissingExtraError, match=r"the setting `redis` of recsmith serve needs `redis.asyncio`.*'recsmith\[redis\]'"):
        require(ServerConfig(redis="redis://localhost", store=store))
    with pytest.raises(MissingExtraError, match=r"a PostgreSQL store needs `psycopg`.*'recsmith\[postgres\]'"):
        Store(store)


def test_the_settings_that_are_deployed_are_ones_that_there_are() -> None:
    assert read_config(DEPLOY / "serve.toml", {}, {}).refit.every_hours == 24.0


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = (DEPLOY / "recsmith.service").read_text().replace("/opt/recsmith/bin/recsmith", "/bin/true")
    (tmp_path / "recsmith.service").write_text(unit)
    checked = subprocess.run(["systemd-analyze", "verify", "--man=no", str(tmp_path / "recsmith.service")], capture_output=True, text=True)
    said = [line for line in checked.stderr.splitlines() if "recsmith" in line]
    assert checked.returncode == 0, checked.stderr
    assert not said
