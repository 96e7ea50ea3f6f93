"""Who may do what: every route with every kind of key, exactly as in the table of the guide; rate limits; what is never written down."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.serving.conftest import ServerProcess

from recsmith.cli.program import execute
from recsmith.errors import ConfigError
from recsmith.serving.calls import Route
from recsmith.serving.client import ClientError
from recsmith.serving.config import ServerConfig, read_config
from recsmith.serving.keys import ROLES, KeyRing, RateLimit, new_key
from recsmith.serving.problems import Problem
from recsmith.serving.routes import ROUTES, access_table

GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "serve.md"


@pytest.fixture(scope="module")
def keys(server: ServerProcess) -> dict[str, str | None]:
    with server.client() as client:
        made = {role: client.create_key(f"test {role}", role)["key"] for role in ROLES}
        expired = client.create_key("test expired", "admin", days=1e-9)["key"]
        revoked = client.create_key("test revoked", "admin")
        client.revoke_key(revoked["key_id"])
    other = new_key("not in the store", "admin", expires=None, now=0)[0]
    wrong = f"{made['admin'][:-1]}{'A' if made['admin'][-1] != 'A' else 'B'}"
    return {**made, "expired": expired, "revoked": revoked["key"], "unknown": other, "wrong secret": wrong, "none": None}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_with_every_key(server: ServerProcess, keys: dict[str, str | None], route: Route) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    path = route.path
    for name in ("user_id", "item_id", "list_id", "key_id", "model", "experiment"):
        path = path.replace("{" + name + "}", "not-there")
    for who, key in keys.items():
        headers = {"content-type": "application/json"} | ({} if key is None else {"x-api-key": key})
        connection.request(route.method, path, b"{}" if route.body else None, headers)
        response = connection.getresponse()
        response.read()
        if route.role is None:
            assert response.status < 400
        elif who not in ROLES:
            assert response.status == 401, who
            assert response.headers["www-authenticate"] == "Bearer"
        elif ROLES.index(who) < ROLES.index(route.role):
            assert response.status == 403, who
        else:
            assert response.status not in (401, 403), who
            assert response.status < 500, who
        assert response.headers["access-control-allow-origin"] is None
    connection.close()


def test_the_guide_shows_this_table() -> None:
    assert access_table() in GUIDE.read_text(encoding="utf-8")


def test_why_a_key_is_refused_is_said_to_its_owner_only(server: ServerProcess, keys: dict[str, str | None]) -> None:
    for who, says in (("expired", "has expired"), ("revoked", "was revoked"), ("unknown", "not known"), ("wrong secret", "not known")):
        with server.client(keys[who]) as client, pytest.raises(ClientError, match=says):
            client.popular()


def test_secrets_are_in_no_answer_file_or_log(server: ServerProcess, keys: dict[str, str | None]) -> None:
    assert keys["reader"] is not None
    secret = keys["reader"].split("_", 2)[2]
    with server.client() as client:
        assert secret not in str(client.list_keys())
        assert "secret_hash" not in str(client.list_keys())
        assert [row["action"] for row in client.audit(limit=1000)["rows"]].count("create key") >= 3
    for file in server.folder.iterdir():
        assert secret.encode() not in file.read_bytes()


def test_there_is_no_cors(server: ServerProcess) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("OPTIONS", "/popular", headers={"origin": "https://elsewhere.example", "access-control-request-method": "GET"})
    response = connection.getresponse()
    assert response.status == 405
    assert not [name for name in response.headers if name.lower().startswith("access-control")]
    connection.close()


def test_a_key_that_asks_too_often_is_told_to_wait() -> None:
    now = [0.0]
    rate = RateLimit(5, clock=lambda: now[0])
    for _ in range(10):
        rate.check("a")
    with pytest.raises(Problem, match="5 requests a second; wait 1 s") as refusal:
        rate.check("a")
    assert (refusal.value.status, refusal.value.headers) == (429, {"retry-after": "1"})
    rate.check("b")
    now[0] += 0.2
    rate.check("a")
    with pytest.raises(Problem, match="wait"):
        rate.check("a")
    now[0] -= 100  # a clock that jumps back takes nothing away for good
    with pytest.raises(Problem, match="wait"):
        rate.check("a")


def test_keys_of_the_wrong_form_are_refused() -> None:
    ring = KeyRing([])
    for text in ("", "rsk", "rsk_", "rsk__", "x_y_z", "rsk_" + "é" * 500, "\x00"):
        with pytest.raises(Problem, match="API key") as refusal:
            ring.check(None, text)
        assert refusal.value.status == 401
    with pytest.raises(Problem, match="scheme 'Basic' is not understood"):
        ring.check("Basic YTpi", None)


# ---- settings -------------------------------------------------------------------------------------------------------------


def test_settings_come_from_file_environment_and_command_line_in_this_order(tmp_path: Path) -> None:
    file = tmp_path / "serve.toml"
    file.write_text('port = 1\ndeadline_ms = 2\nhost = "127.0.0.2"\n')
    config = read_config(file, {"port": 3, "host": None}, {"RECSMITH_SERVE_PORT": "2", "RECSMITH_SERVE_DEADLINE_MS": "7"})
    assert (config.port, config.deadline_ms, config.host) == (3, 7, "127.0.0.2")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"prot": 80}, "unknown setting `serve.prot`; did you mean `port`"),
        ({"access": "open", "host": "0.0.0.0"}, "only possible on a loopback address"),
        ({"store": "mysql://x"}, "store 'mysql' is not known; allowed: sqlite:///FILE"),
        ({"certificate": "c.pem"}, "go together"),
        ({"port": 70000}, "less than or equal to 65535"),
    ],
)
def test_settings_that_make_no_sense(settings: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        ServerConfig.parse(settings, where="serve")


def test_check_says_what_would_be_served(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["serve", str(runs / "first"), "--store", f"sqlite:///{tmp_path / 's.db'}", "--check"]) == 0
    out = capsys.readouterr().out
    assert "model: first" in out
    assert "'journal_mode': 'wal', 'synchronous': 2" in out
    assert execute(["serve", str(runs / "first"), "--store", "sqlite://", "--check"]) == 2
    assert "store 'sqlite' is not known" in capsys.readouterr().err
    assert execute(["serve", str(runs / "first"), "--store", f"sqlite:///{tmp_path / 'no' / 's.db'}", "--check"]) == 2
    assert "cannot be opened" in capsys.readouterr().err
    assert execute(["serve", str(runs / "nothing"), "--store", f"sqlite:///{tmp_path / 's.db'}", "--check"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_the_port_is_taken(serve: Callable[..., ServerProcess], server: ServerProcess) -> None:
    from recsmith.errors import UserError
    from recsmith.serving.process import listen

    with pytest.raises(UserError, match=f"cannot listen on 127.0.0.1:{server.port}"):
        listen("127.0.0.1", server.port)
