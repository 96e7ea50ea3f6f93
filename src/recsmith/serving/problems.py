"""`Problem`: a refusal as it goes over the wire (RFC 9457, problem details), and the few kinds of refusal that the server has."""

from __future__ import annotations

from http import HTTPStatus

KINDS: dict[str, int] = {
    "bad-json": 400,
    "bad-request": 400,
    "no-key": 401,
    "not-allowed": 403,
    "not-found": 404,
    "wrong-method": 405,
    "too-slow": 408,
    "conflict": 409,
    "too-large": 413,
    "not-json": 415,
    "invalid": 422,
    "too-many-requests": 429,
    "bug": 500,
    "store-unavailable": 503,
}
"""Kind → HTTP status."""


class Problem(Exception):
    """Raised by whatever must refuse; `detail` says what was given, what is allowed and what to do, in one line."""

    def __init__(self, kind: str, detail: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.headers = headers or {}

    @property
    def status(self) -> int:
        """HTTP status."""
        return KINDS[self.kind]

    def document(self) -> dict[str, object]:
        """The body."""
        title = HTTPStatus(self.status).phrase
        return {"type": f"urn:recsmith:problem:{self.kind}", "title": title, "status": self.status, "detail": self.detail}
