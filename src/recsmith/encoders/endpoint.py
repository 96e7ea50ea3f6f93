"""Embeddings from somewhere else: any callable handed in, or an OpenAI-compatible `/embeddings` endpoint."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

import numpy as np

from recsmith.encoders.batches import Batch, in_order
from recsmith.encoders.text import checked_texts
from recsmith.errors import BackendError, UserError
from recsmith.key_safety import checked_address, key_in, keyless
from recsmith.protocols import Progress

Embed = Callable[[list[str]], Sequence[Sequence[float]]]
"""Texts → one vector each, of any length, in order."""

KEY_VARIABLES = ("RECSMITH_EMBEDDINGS_KEY", "OPENAI_API_KEY")
"""Environment variables that may hold the key; the first that is set is sent."""
_PASSING = {408, 409, 425, 429, 500, 502, 503, 504, 529}
_LONGEST_PAUSE = 60.0


class EndpointEncoder:
    """A `TextEncoder` around `embed`. What comes back is checked (one vector a text, one length, finite) and brought to length 1."""

    def __init__(self, embed: Embed, *, name: str, batch_size: int = 64) -> None:
        """`name` says exactly which model answers: vectors are cached under it."""
        self._embed = embed
        self.name = name
        self._batch_size = batch_size

    def encode(self, texts: Sequence[str], *, progress: Progress | None = None) -> np.ndarray:
        """Vectors float32 `[text, dim]` of length 1. Raises `BackendError` for an answer that does not fit the question."""
        texts = checked_texts(texts)
        return in_order(self.batches(texts), len(texts), progress=progress)

    def batches(self, texts: Sequence[str]) -> Iterator[Batch]:
        """See `BatchedEncoder.batches`; one request a batch. Raises as `encode`."""
        texts = checked_texts(texts)
        dim: int | None = None
        for start in range(0, len(texts), self._batch_size):
            batch = texts[start : start + self._batch_size]
            vectors = self._checked(self._embed(batch), len(batch), dim)
            dim = vectors.shape[1]
            yield np.arange(start, start + len(batch)), vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

    def _checked(self, answer: Any, count: int, dim: int | None) -> np.ndarray:
        try:
            vectors = np.asarray(answer, dtype=np.float32)
        except (TypeError, ValueError):
            raise BackendError(f"`{self.name}` answered with something that is no table of numbers; check the model's name") from None
        if vectors.ndim != 2 or len(vectors) != count or (dim is not None and vectors.shape[1] != dim):
            raise BackendError(f"`{self.name}` gave numbers of shape {vectors.shape} for {count} texts; expected [{count}, {dim or 'dim'}]")
        if not np.isfinite(vectors).all():
            raise BackendError(f"`{self.name}` answered with numbers that are not finite; try another model")
        return vectors


class HttpEmbeddings:
    """An `Embed` over HTTP: POST `{"model", "input"}` to `base_url`/embeddings, as OpenAI's service and its many imitations take it.

    Tries again, with growing random pauses or after the time that the server names, what may pass (busy, too many requests, a cut
    connection); anything else is an error at once. The key comes from the environment and stands in no message. Redirects are not followed,
    so that it goes nowhere else, and proxies that the environment names are used for https alone.
    """

    def __init__(self, base_url: str, model: str, *, timeout: float = 60.0, tries: int = 5, first_pause: float = 0.5) -> None:
        """Raises `UserError` for an address that is not http or https, or holds a password. `timeout` and `first_pause` in seconds."""
        self._url = checked_address(base_url) + "/embeddings"
        proxies = ProxyHandler() if self._url.startswith("https:") else ProxyHandler({})
        self._opener = build_opener(_NoRedirects, proxies)
        self._model = model
        self._timeout, self._tries, self._first_pause = timeout, tries, first_pause

    def __call__(self, texts: list[str]) -> list[list[float]]:
        """One vector a text. Raises `BackendError` when the endpoint does not answer as it should."""
        key = key_in(*KEY_VARIABLES)
        with keyless(key, BackendError):
            return self._answered(texts, key)

    def _answered(self, texts: list[str], key: str) -> list[list[float]]:
        for attempt in range(1, self._tries + 1):
            try:
                return self._asked(texts, key)
            except HTTPError as error:
                if error.code not in _PASSING or attempt == self._tries:
                    raise BackendError(f"{self._url} said {error.code} {error.reason} ({attempt} tries); {_advice(error.code)}") from None
                pause = _named_pause(error)
            except (URLError, TimeoutError, ConnectionError, HTTPException) as error:
                if attempt == self._tries:
                    reason = getattr(error, "reason", error)
                    raise BackendError(f"{self._url} could not be reached ({attempt} tries: {reason}); is the server running?") from None
                pause = None
            if pause is None:
                pause = self._first_pause * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)
            time.sleep(min(_LONGEST_PAUSE, pause))
        raise AssertionError("unreachable")

    def _asked(self, texts: list[str], key: str) -> list[list[float]]:
        headers = {"Content-Type": "application/json"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        body = json.dumps({"model": self._model, "input": texts}).encode()
        with self._opener.open(Request(self._url, data=body, headers=headers), timeout=self._timeout) as response:
            text = response.read()
        try:
            rows = sorted(json.loads(text)["data"], key=lambda row: row["index"])
            return [row["embedding"] for row in rows]
        except (ValueError, KeyError, TypeError):
            raise BackendError(f"{self._url} gave no list of embeddings; is this an OpenAI-compatible address?") from None


class _NoRedirects(HTTPRedirectHandler):
    """Leaves a redirect as the error that it is here; a new request would carry the key."""

    def redirect_request(self, *_: Any) -> None:
        return None


def endpoint_encoder(name: str, *, batch_size: int) -> EndpointEncoder:
    """The encoder behind a name such as `https://host/v1#model`; raises `UserError` when the model is not named or the address unusable."""
    address, _, model = name.partition("#")
    checked_address(address)
    if not model:
        raise UserError(f"encoder `{name}` names no model; write the model behind a #, such as `{address}#text-embedding-3-small`")
    return EndpointEncoder(HttpEmbeddings(address, model), name=f"endpoint {name}", batch_size=batch_size)


def _named_pause(error: HTTPError) -> float | None:
    try:
        return max(0.0, float(error.headers.get("Retry-After", "")))
    except ValueError:
        return None


def _advice(code: int) -> str:
    if code in (401, 403):
        return f"set the key in the environment: {' or '.join(KEY_VARIABLES)}"
    if 300 <= code < 400:
        return "the address has moved, and redirects are not followed, so that the key goes nowhere else: give the new address"
    if code == 404:
        return "check the address and the model's name"
    return "try again later, or ask for less at a time (encoder.batch_size)"
