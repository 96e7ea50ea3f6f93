"""API keys: `rsk_<id>_<secret>`. The store holds a SHA-256 of the secret, which is 256 random bits, so that no slow hash is needed."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple

from recsmith.serving.bucket import Bucket
from recsmith.serving.problems import Problem

Role = Literal["reader", "writer", "admin"]
ROLES: tuple[Role, ...] = ("reader", "writer", "admin")
"""Each may do what those before it may."""

_PREFIX = "rsk"
_NEEDED = "give `authorization: Bearer rsk_…` or `x-api-key: rsk_…`"


class Key(NamedTuple):
    """A key as it is checked."""

    key_id: str
    name: str
    role: Role
    secret_hash: str
    expires: float | None
    revoked: float | None


def new_key(name: str, role: Role, *, expires: float | None, now: float) -> tuple[str, dict[str, Any]]:
    """The key, which is shown once, and its row, which does not reveal it."""
    key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    row = {
        "key_id": key_id,
        "name": name,
        "role": role,
        "secret_hash": _hash(secret),
        "created": now,
        "expires": expires,
        "revoked": None,
    }
    return f"{_PREFIX}_{key_id}_{secret}", row


class KeyRing:
    """The keys that may be used now, in memory."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self._keys: dict[str, Key] = {}
        self.replace(rows)

    def __len__(self) -> int:
        return len(self._keys)

    def replace(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take the store's keys in place of the present ones."""
        self._keys = {row["key_id"]: Key(*(row[name] for name in Key._fields)) for row in rows}

    def check(self, authorization: str | None, plain: str | None) -> Key:
        """The key of a request. Raises `Problem` (401); what is wrong with a key is only said to who knows its secret."""
        text = plain
        if text is None and authorization is not None:
            scheme, _, text = authorization.partition(" ")
            if scheme.lower() != "bearer":
                raise _refusal(f"authorization of scheme {scheme[:20]!r} is not understood; {_NEEDED}")
        if not text:
            raise _refusal(f"this needs an API key; {_NEEDED}")
        prefix, _, rest = text.strip().partition("_")
        key_id, _, secret = rest.partition("_")
        key = self._keys.get(key_id)
        expected = _hash("") if key is None else key.secret_hash
        right = hmac.compare_digest(_hash(secret), expected)
        if key is None or not right or prefix != _PREFIX:
            raise _refusal("the API key is not known; ask an administrator for one")
        if key.revoked is not None:
            raise _refusal("the API key was revoked; ask an administrator for another")
        if key.expires is not None and key.expires <= time.time():
            raise _refusal("the API key has expired; ask an administrator for another")
        return key


def may(role: Role, needed: Role) -> bool:
    """Whether a role includes another."""
    return ROLES.index(role) >= ROLES.index(needed)


class RateLimit:
    """A token bucket per key: `rate` requests a second over time, twice as many at once."""

    def __init__(self, rate: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}

    def check(self, key_id: str) -> None:
        """Raises `Problem` (429) when the bucket is empty."""
        bucket = self._buckets.get(key_id)
        if bucket is None:
            bucket = self._buckets[key_id] = Bucket(self._rate, 2 * self._rate, clock=self._clock)
        seconds = bucket.take()
        if seconds > 0:
            raise too_fast(self._rate, seconds)


def too_fast(rate: float, seconds: float) -> Problem:
    """A refusal of a key that may make `rate` requests a second, and the next one in `seconds`."""
    wait = max(1, int(seconds + 0.999))
    detail = f"this key may make {rate:g} requests a second; wait {wait} s and go on more slowly"
    return Problem("too-many-requests", detail, headers={"retry-after": str(wait)})


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def _refusal(detail: str) -> Problem:
    return Problem("no-key", detail, headers={"www-authenticate": "Bearer"})
