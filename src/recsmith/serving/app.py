"""The ASGI application: from bytes to a checked `Call`, from a reply to bytes, and every refusal as a problem document.

Routing, checks and OpenAPI come from one table (`routes`), and nothing stands between a request and its handler but this file: at a
thousand answers a second on one core, a general framework's layers cost as much as the answer.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

import orjson
from pydantic import ValidationError

from recsmith.serving.calls import Call, Reply, Route
from recsmith.serving.keys import Key, may
from recsmith.serving.problems import Problem
from recsmith.serving.routes import ROUTES
from recsmith.serving.server import Server
from recsmith.serving.store import StoreUnavailableError
from recsmith.serving.streaming import Stream

LOG = logging.getLogger("recsmith.serving")
REQUESTS = logging.getLogger("recsmith.serving.requests")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Serving = Callable[[], AbstractAsyncContextManager[Server]]

MOST_DEPTH = 16
"""Levels of nesting that a body may have."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SAFE = [(b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"), (b"server", b"recsmith")]


class Application:
    """An ASGI 3 application; `serving` opens the `Server` when the event loop starts and closes it at the end."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._context: AbstractAsyncContextManager[Server] | None = None
        self._server: Server | None = None
        self._tree = _tree(ROUTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection's request, or the life of the process."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1003})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self._context = self._serving()
        self._server = await self._context.__aenter__()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._context.__aexit__(None, None, None)
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self._server is not None
        with self._server.tracing.request(scope["method"], scope["headers"]) as span:
            span.answered(*await self._reply(scope, receive, send))

    async def _reply(self, scope: Scope, receive: Receive, send: Send) -> tuple[str, int]:
        """Answer, and say what was asked (as the route, without ids) and with which status it was answered."""
        assert self._server is not None
        started = time.perf_counter()
        template, key = "unknown", None
        try:
            route, values = self._find(scope)
            template = f"{route.method} {route.path}"
            if self._server.follower is not None and route.role is not None:
                await self._server.follower.catch_up()
            key = await self._admit(scope, route)
            reply = await self._handle(scope, receive, route, values, key)
        except Problem as problem:
            reply = _refused(problem)
        except StoreUnavailableError as error:
            reply = _refused(self._server.away(error))
        except Exception as error:
            LOG.exception("a bug in %s: %s", template, type(error).__name__)
            reply = _refused(Problem("bug", "the server made a mistake, which is in its log; please report it"))
        await _send(send, reply, receive)
        seconds = time.perf_counter() - started
        self._server.metrics.observe(template, reply.status, seconds)
        self._log(template, reply.status, seconds, key)
        return template, reply.status

    def _find(self, scope: Scope) -> tuple[Route, dict[str, str]]:
        parts = scope["raw_path"].partition(b"?")[0].split(b"/")[1:]
        node: Any = self._tree
        found: list[bytes] = []
        for part in parts:
            below = node.get(part)
            if below is None:
                below = node.get(_ANY) if part else None
                found.append(part)
            if below is None:
                raise Problem("not-found", "there is nothing at this address; GET /openapi.json describes what there is")
            node = below
        methods: dict[str, Route] = node.get(_METHODS, {})
        if not methods:
            raise Problem("not-found", "there is nothing at this address; GET /openapi.json describes what there is")
        route = methods.get(scope["method"])
        if route is None:
            allowed = ", ".join(methods)
            detail = f"{scope['method'][:20]} is not possible here; allowed: {allowed}"
            raise Problem("wrong-method", detail, headers={"allow": allowed})
        names = _names(route.path)
        return route, {name: _text(part) for name, part in zip(names, found, strict=True)}

    async def _admit(self, scope: Scope, route: Route) -> Key | None:
        """Who asks, when they may. Raises `Problem`."""
        assert self._server is not None
        if route.role is None or self._server.config.access == "open":
            return None
        headers = {name: value for name, value in scope["headers"] if name in (b"authorization", b"x-api-key")}
        authorization, plain = headers.get(b"authorization"), headers.get(b"x-api-key")
        key = self._server.keys.check(
            None if authorization is None else authorization.decode("latin-1"), None if plain is None else plain.decode("latin-1")
        )
        await self._server.sharing.take(key.key_id)
        if not may(key.role, route.role):
            raise Problem("not-allowed", f"this needs a key of role {route.role}; this one is of role {key.role}")
        return key

    async def _handle(self, scope: Scope, receive: Receive, route: Route, values: dict[str, str], key: Key | None) -> Reply:
        assert self._server is not None
        query = _query(scope["query_string"], route)
        body = None
        if route.body is not None:
            body = await self._body(scope, receive, route)
        result = await route.handler(self._server, Call(values, query, body, key))
        reply = result if isinstance(result, Reply) else Reply(result, route.status)
        if isinstance(reply.content, Stream):
            await reply.content.begin()
        elif not isinstance(reply.content, bytes):
            reply.content = orjson.dumps(reply.content)
        return reply

    async def _body(self, scope: Scope, receive: Receive, route: Route) -> Any:
        assert self._server is not None
        assert route.body is not None
        headers = dict(scope["headers"])
        media = headers.get(b"content-type", b"application/json").partition(b";")[0].strip().lower()
        if media != b"application/json":
            raise Problem("not-json", f"a body of type {media.decode('latin-1')[:50]!r} is not understood; send application/json")
        config = self._server.config
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > config.max_body:
            raise _too_large(config.max_body)
        try:
            async with asyncio.timeout(config.body_seconds):
                raw = await _read(receive, config.max_body)
        except TimeoutError:
            raise Problem("too-slow", f"the body did not arrive within {config.body_seconds:g} s; send it in smaller parts") from None
        return _parse(raw, route.body)

    def _log(self, template: str, status: int, seconds: float, key: Key | None) -> None:
        assert self._server is not None
        wanted = self._server.config.log
        if wanted == "none" or (wanted == "problems" and status < 400):
            return
        facts = {"request": template, "status": status, "ms": round(1000 * seconds, 2), "key": None if key is None else key.key_id}
        REQUESTS.info("request", extra={"facts": facts})


# ---- reading ------------------------------------------------------------------------------------------------------------

_ANY, _METHODS = "any", "methods"  # text, so that no segment of a path, which is bytes, is equal to them


def _tree(routes: tuple[Route, ...]) -> dict[Any, Any]:
    """Path segments as nested dictionaries; `_ANY` stands for a value."""
    root: dict[Any, Any] = {}
    for route in routes:
        node = root
        for part in route.path.split("/")[1:]:
            node = node.setdefault(_ANY if part.startswith("{") else part.encode(), {})
        node.setdefault(_METHODS, {})[route.method] = route
    return root


def _names(path: str) -> list[str]:
    return [part[1:-1] for part in path.split("/") if part.startswith("{")]


def _text(part: bytes) -> str:
    try:
        text = unquote_to_bytes(part).decode("utf-8")
    except UnicodeDecodeError:
        raise Problem("bad-request", "the address is not UTF-8; encode it with percent signs") from None
    if len(text) > 256 or _CONTROL.search(text):
        raise Problem("invalid", "an id in the address has 1 to 256 characters, none of them a control character")
    return text


def _query(raw: bytes, route: Route) -> Any:
    if not raw and route.query in _DEFAULTS:
        return _DEFAULTS[route.query]
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=50)
    except (UnicodeDecodeError, ValueError):
        raise Problem("bad-request", "the part of the address behind `?` cannot be read; write name=value&name=value") from None
    values: dict[str, str] = {}
    for name, value in pairs:
        if name in values:
            raise Problem("invalid", f"`{name[:50]}` is given twice; give it once")
        values[name] = value
    return _checked(route.query, values)


_DEFAULTS: dict[Any, Any] = {query: query() for query in {route.query for route in ROUTES} if not query.model_json_schema().get("required")}


async def _read(receive: Receive, most: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem("bad-request", "the connection was closed before the body had arrived")
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > most:
            raise _too_large(most)
        if not message.get("more_body"):
            return b"".join(chunks)


def _parse(raw: bytes, model: Any) -> Any:
    _check_depth(raw)
    try:
        values = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Problem("bad-json", f"the body is not JSON: {str(error)[:200]}; send one JSON document") from None
    return _checked(model, values)


def _check_depth(raw: bytes) -> None:
    """Nesting without reading the document: brackets outside of text."""
    if raw.count(b"[") + raw.count(b"{") <= MOST_DEPTH:
        return
    depth = 0
    for token in _BRACKETS.finditer(raw):
        if token[0] in (b"[", b"{"):
            depth += 1
            if depth > MOST_DEPTH:
                raise Problem("bad-json", f"the body is nested more than {MOST_DEPTH} levels deep; make it flatter")
        elif token[0] in (b"]", b"}"):
            depth -= 1


_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


def _checked(model: Any, values: Any) -> Any:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise Problem("invalid", "; ".join(_explain(detail) for detail in error.errors(include_url=False)[:5])) from None


def _explain(detail: Any) -> str:
    where = ".".join(str(part)[:50] for part in detail["loc"]) or "the body"
    given = "" if detail["type"] in ("missing", "extra_forbidden") else f" (given: {str(detail.get('input'))[:50]!r})"
    message = "is not known here; leave it out" if detail["type"] == "extra_forbidden" else detail["msg"]
    return f"`{where}`: {message[:1].lower()}{message[1:]}{given}"


def _too_large(most: int) -> Problem:
    return Problem("too-large", f"the body is larger than {most} bytes; send several smaller ones")


# ---- writing ------------------------------------------------------------------------------------------------------------


def _refused(problem: Problem) -> Reply:
    return Reply(problem.document(), problem.status, problem.headers, "application/problem+json")


async def _send(send: Send, reply: Reply, receive: Receive) -> None:
    headers = [(b"content-type", reply.media_type.encode()), *_SAFE]
    headers += [(name.encode(), value.encode("latin-1", "replace")) for name, value in reply.headers.items()]
    start = {"type": "http.response.start", "status": reply.status, "headers": headers}
    if isinstance(reply.content, Stream):
        await send(start)
        await reply.content.send(send, receive)
        return
    body = reply.content if isinstance(reply.content, bytes) else orjson.dumps(reply.content)
    headers.append((b"content-length", str(len(body)).encode()))
    await send(start)
    await send({"type": "http.response.body", "body": body})
