"""`Client`: the HTTP API as Python methods, one per operation of `/openapi.json` and of its name. Standard library only."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from recsmith.errors import RecsmithError

Document = dict[str, Any]


class ClientError(RecsmithError):
    """The server refused; the message is its own."""

    def __init__(self, status: int, document: Mapping[str, Any], retry_after: float | None) -> None:
        super().__init__(str(document.get("detail", f"the server answered {status}")))
        self.status = status
        """HTTP status."""
        self.kind = str(document.get("type", "")).rpartition(":")[2]
        """Kind of the problem, such as `not-found`."""
        self.retry_after = retry_after
        """Seconds after which trying again makes sense, None when it does not."""


class Client:
    """One connection to a server, kept open; not for several threads at once."""

    def __init__(self, url: str, key: str | None = None, *, timeout: float = 30.0) -> None:
        """`url` such as `http://127.0.0.1:8000`, `key` an API key, `timeout` in seconds."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RecsmithError(f"{url!r} is no address of a server; example: http://127.0.0.1:8000")
        self._connection: http.client.HTTPConnection
        if parts.scheme == "https":
            self._connection = http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=timeout, context=ssl.create_default_context()
            )
        else:
            self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
        self._headers = {"content-type": "application/json"} | ({} if key is None else {"authorization": f"Bearer {key}"})

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- lists ----

    def recommend(self, user_id: str | int, *, k: int = 10, include_seen: bool | None = None, deadline_ms: int | None = None) -> Document:
        """Items for a person."""
        return self._get(["recommend", user_id], k=k, include_seen=include_seen, deadline_ms=deadline_ms)

    def recommend_session(
        self,
        history: Sequence[str | int],
        *,
        k: int = 10,
        include_seen: bool | None = None,
        allow: Sequence[str | int] | None = None,
        deny: Sequence[str | int] = (),
        region: str | None = None,
        age: float | None = None,
        session_id: str | int | None = None,
        deadline_ms: int | None = None,
    ) -> Document:
        """Items for somebody of whom only this history is known."""
        body = {
            "history": list(history),
            "k": k,
            "include_seen": include_seen,
            "allow": None if allow is None else list(allow),
            "deny": list(deny),
            "region": region,
            "age": age,
            "session_id": session_id,
            "deadline_ms": deadline_ms,
        }
        return self._send("POST", ["recommend"], body)

    def why(self, user_id: str | int, item_id: str | int, *, k: int = 10) -> Document:
        """Why an item is, or is not, in a person's list."""
        return self._get(["recommend", user_id, "why", item_id], k=k)

    def explain(self, user_id: str | int, item_id: str | int, *, last: int = 50) -> Document:
        """Which events and codes carry an item for a person."""
        return self._get(["recommend", user_id, "evidence", item_id], last=last)

    def explain_session(self, item_id: str | int, history: Sequence[str | int], *, last: int = 50) -> Document:
        """Which events and codes carry an item for somebody of whom only this history is known."""
        return self._send("POST", ["evidence"], {"item_id": item_id, "history": list(history), "last": last})

    def slate(
        self,
        user_id: str | int,
        *,
        size: int = 5,
        include_seen: bool | None = None,
        wanted: float | None = None,
        seed: int | None = None,
        deadline_ms: int | None = None,
    ) -> Document:
        """A slate for a person."""
        query = {"size": size, "include_seen": include_seen, "wanted": wanted, "seed": seed, "deadline_ms": deadline_ms}
        return self._get(["slates", user_id], **query)

    def stream_slate(
        self,
        user_id: str | int,
        *,
        size: int = 5,
        include_seen: bool | None = None,
        wanted: float | None = None,
        seed: int | None = None,
        deadline_ms: int | None = None,
    ) -> Iterator[Document]:
        """A slate slot by slot, then a document with `done`; leaving the loop early stops the server's work."""
        query = {"size": size, "include_seen": include_seen, "wanted": wanted, "seed": seed, "deadline_ms": deadline_ms}
        return self._lines(["slates", user_id, "stream"], query)

    def slate_session(
        self,
        history: Sequence[str | int],
        *,
        size: int = 5,
        include_seen: bool | None = None,
        allow: Sequence[str | int] | None = None,
        deny: Sequence[str | int] = (),
        region: str | None = None,
        age: float | None = None,
        wanted: float | None = None,
        seed: int | None = None,
        deadline_ms: int | None = None,
    ) -> Document:
        """A slate for somebody of whom only this history is known."""
        body = {
            "history": list(history),
            "size": size,
            "include_seen": include_seen,
            "allow": None if allow is None else list(allow),
            "deny": list(deny),
            "region": region,
            "age": age,
            "wanted": wanted,
            "seed": seed,
            "deadline_ms": deadline_ms,
        }
        return self._send("POST", ["slates"], body)

    def search(
        self, q: str, *, k: int = 10, user_id: str | int | None = None, personal: float = 1.0, deadline_ms: int | None = None
    ) -> Document:
        """Items by words."""
        return self._get(["search"], q=q, k=k, user_id=user_id, personal=personal, deadline_ms=deadline_ms)

    def search_where(
        self,
        q: str,
        where: Mapping[str, Any] | None = None,
        *,
        k: int = 10,
        user_id: str | int | None = None,
        personal: float = 1.0,
        region: str | None = None,
        age: float | None = None,
        deadline_ms: int | None = None,
    ) -> Document:
        """Items by words among those that meet a condition, such as `{"brand": ["Acme"], "price": {"high": 20}}`."""
        body = {
            "q": q,
            "where": None if where is None else dict(where),
            "k": k,
            "user_id": user_id,
            "personal": personal,
            "region": region,
            "age": age,
            "deadline_ms": deadline_ms,
        }
        return self._send("POST", ["search"], body)

    def similar(self, item_id: str | int, *, k: int = 10, deadline_ms: int | None = None) -> Document:
        """What goes with an item."""
        return self._get(["similar", item_id], k=k, deadline_ms=deadline_ms)

    def popular(self, *, k: int = 10) -> Document:
        """The items with the most events."""
        return self._get(["popular"], k=k)

    def trending(self, *, k: int = 10) -> Document:
        """The items with the most events lately."""
        return self._get(["trending"], k=k)

    def shown_list(self, list_id: str) -> Document:
        """A list that was served."""
        return self._get(["lists", list_id])

    # ---- events ----

    def add_event(
        self,
        user_id: str | int,
        item_id: str | int,
        *,
        event_id: str | None = None,
        kind: str = "view",
        time: float | None = None,
        value: float = 1.0,
        list_id: str | None = None,
    ) -> Document:
        """Take in one event; durable when this returns. With an `event_id`, sending again is safe."""
        event = {"user_id": user_id, "item_id": item_id, "event_id": event_id, "kind": kind, "time": time, "value": value}
        return self._send("POST", ["events"], {**event, "list_id": list_id})

    def add_events(self, events: Sequence[Mapping[str, Any]]) -> Document:
        """Take in several events, all or none."""
        return self._send("POST", ["events", "batch"], {"events": [dict(event) for event in events]})

    def feed(self, *, after: int = 0, limit: int = 100) -> Document:
        """Events in the order in which they were acknowledged."""
        return self._get(["events"], after=after, limit=limit)

    # ---- items and people ----

    def list_items(self, *, after: str = "", limit: int = 100) -> Document:
        """Items that were written through the API."""
        return self._get(["items"], after=after, limit=limit)

    def put_items(self, items: Sequence[Mapping[str, Any]]) -> Document:
        """Create or replace several items, all or none."""
        return self._send("POST", ["items"], {"items": [dict(item) for item in items]})

    def get_item(self, item_id: str | int) -> Document:
        """What is known about an item."""
        return self._get(["items", item_id])

    def put_item(self, item_id: str | int, *, title: str | None = None, attributes: Mapping[str, Any] | None = None) -> Document:
        """Create or replace an item."""
        return self._send("PUT", ["items", item_id], {"title": title, "attributes": dict(attributes or {})})

    def delete_item(self, item_id: str | int) -> Document:
        """Take an item out of every list."""
        return self._send("DELETE", ["items", item_id])

    def list_users(self, *, after: str = "", limit: int = 100) -> Document:
        """People that were written through the API."""
        return self._get(["users"], after=after, limit=limit)

    def put_users(self, users: Sequence[Mapping[str, Any]]) -> Document:
        """Create or replace several people, all or none."""
        return self._send("POST", ["users"], {"users": [dict(user) for user in users]})

    def get_user(self, user_id: str | int) -> Document:
        """What is known about a person."""
        return self._get(["users", user_id])

    def put_user(self, user_id: str | int, *, attributes: Mapping[str, Any] | None = None) -> Document:
        """Create or replace a person."""
        return self._send("PUT", ["users", user_id], {"attributes": dict(attributes or {})})

    def user_history(self, user_id: str | int) -> Document:
        """What answers to a person are made from."""
        return self._get(["users", user_id, "history"])

    def export_user(self, user_id: str | int) -> Document:
        """Everything that is held about a person."""
        return self._get(["users", user_id, "export"])

    def forget_user(self, user_id: str | int) -> Document:
        """Delete everything about a person."""
        return self._send("DELETE", ["users", user_id])

    # ---- running the server ----

    def live(self) -> Document:
        """The process runs."""
        return self._get(["health", "live"])

    def ready(self) -> Document:
        """A model is in service."""
        return self._get(["health", "ready"])

    def openapi(self) -> Document:
        """The interface, as OpenAPI 3.1."""
        return self._get(["openapi.json"])

    def metrics(self) -> str:
        """Figures in Prometheus' text format."""
        return self._request("GET", ["metrics"], None, {}).decode()

    def get_rules(self) -> Document:
        """The business's rules in force."""
        return self._get(["rules"])

    def put_rules(self, rules: Mapping[str, Any]) -> Document:
        """Put other rules into force."""
        return self._send("PUT", ["rules"], {"rules": dict(rules)})

    def list_models(self) -> Document:
        """The runs that may be put into service."""
        return self._get(["models"])

    def activate_model(self, model: str) -> Document:
        """Put another model into service."""
        return self._send("POST", ["models", model, "activate"])

    def rollback_model(self) -> Document:
        """Put the model before back into service."""
        return self._send("POST", ["models", "rollback"])

    def guard(self) -> Document:
        """How a newly activated model does against the one before."""
        return self._get(["models", "guard"])

    # ---- experiments ----

    def list_experiments(self) -> Document:
        """Experiments that run or have run."""
        return self._get(["experiments"])

    def create_experiment(
        self,
        name: str,
        arms: Sequence[Mapping[str, Any]],
        *,
        kind: str = "arms",
        layer: str = "main",
        start: float = 0.0,
        share: float = 1.0,
        salt: str = "",
        metric: str = "click",
        outcome: str = "any",
        within_hours: float = 24.0 * 7,
        planned: int = 10_000,
        least_units: int = 200,
        alpha: float = 0.05,
    ) -> Document:
        """Begin an experiment, such as `[{"name": "old"}, {"name": "new", "model": "tiger"}]`; the first arm is the control."""
        body = {
            "name": name,
            "arms": [dict(arm) for arm in arms],
            "kind": kind,
            "layer": layer,
            "start": start,
            "share": share,
            "salt": salt,
            "metric": metric,
            "outcome": outcome,
            "within_hours": within_hours,
            "planned": planned,
            "least_units": least_units,
            "alpha": alpha,
        }
        return self._send("POST", ["experiments"], body)

    def get_experiment(self, experiment: str) -> Document:
        """An experiment as it was begun."""
        return self._get(["experiments", experiment])

    def stop_experiment(self, experiment: str) -> Document:
        """End an experiment for good."""
        return self._send("POST", ["experiments", experiment, "stop"])

    def experiment_results(self, experiment: str, *, metric: str | None = None) -> Document:
        """What can be said by now, safely at every look; `holdout` compares with those who take part in nothing."""
        return self._get(["experiments", experiment, "results"], metric=metric)

    def estimate(
        self,
        *,
        model: str | None = None,
        exploration: Mapping[str, Any] | None = None,
        scope: str = "first",
        kinds: Sequence[str] = ("click",),
        within_hours: float = 24.0,
        hours: float = 24.0 * 7,
        lists: int = 5000,
        clip: float | None = None,
        alpha: float = 0.05,
    ) -> Document:
        """What a policy that did not run would have brought."""
        body = {
            "model": model,
            "exploration": dict(exploration or {}),
            "scope": scope,
            "kinds": list(kinds),
            "within_hours": within_hours,
            "hours": hours,
            "lists": lists,
            "clip": clip,
            "alpha": alpha,
        }
        return self._send("POST", ["estimates"], body)

    # ---- keys and audit ----

    def refit_status(self) -> Document:
        """Whether a model is being fitted again, or how that ended."""
        return self._get(["refit"])

    def start_refit(self, how: str, *, activate: bool = False) -> Document:
        """Fit the model again ("fit" or "update") on what the store has gathered."""
        return self._send("POST", ["refit"], {"how": how, "activate": activate})

    def list_keys(self) -> Document:
        """All API keys, without their secrets."""
        return self._get(["keys"])

    def create_key(self, name: str, role: str, *, days: float | None = None) -> Document:
        """Make an API key."""
        return self._send("POST", ["keys"], {"name": name, "role": role, "days": days})

    def revoke_key(self, key_id: str) -> Document:
        """Revoke an API key for good."""
        return self._send("DELETE", ["keys", key_id])

    def audit(self, *, after: int = 0, limit: int = 100) -> Document:
        """Who changed what."""
        return self._get(["audit"], after=after, limit=limit)

    # ---- inside ----

    def _get(self, path: Sequence[str | int], **query: Any) -> Document:
        return self._read(self._request("GET", path, None, query))

    def _send(self, method: str, path: Sequence[str | int], body: Mapping[str, Any] | None = None) -> Document:
        return self._read(self._request(method, path, body, {}))

    def _request(self, method: str, path: Sequence[str | int], body: Mapping[str, Any] | None, query: Mapping[str, Any]) -> bytes:
        try:
            with self._open(method, path, body, query) as response:
                return response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()  # the next request opens another
            raise

    def _lines(self, path: Sequence[str | int], query: Mapping[str, Any]) -> Iterator[Document]:
        """The lines of an answer that grows; the connection is given up when they are not read to the end."""
        response = self._open("GET", path, None, query)
        try:
            for line in response:
                yield json.loads(line)
        finally:
            if not response.isclosed():
                self._connection.close()

    def _open(
        self, method: str, path: Sequence[str | int], body: Mapping[str, Any] | None, query: Mapping[str, Any]
    ) -> http.client.HTTPResponse:
        """A request's answer, not read yet. Raises `ClientError` when it is a refusal."""
        given = {name: _plain(value) for name, value in query.items() if value is not None}
        address = "/" + "/".join(quote(str(part), safe="") for part in path) + (f"?{urlencode(given)}" if given else "")
        content = None if body is None else json.dumps(body).encode()
        try:
            self._connection.request(method, address, content, self._headers)
            response = self._connection.getresponse()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise
        if response.status >= 400:
            wait = response.headers.get("retry-after")
            raise ClientError(response.status, _problem(response.read()), None if wait is None else float(wait))
        return response

    def _read(self, answer: bytes) -> Document:
        document: Document = json.loads(answer)
        return document


def _plain(value: Any) -> Any:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else value


def _problem(answer: bytes) -> Document:
    try:
        document: Document = json.loads(answer)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
