"""`EndpointBackend`: any server that speaks the OpenAI chat protocol, over HTTP (httpx)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from pydantic import Field

from recsmith.config import Config
from recsmith.errors import BackendError, import_extra
from recsmith.key_safety import checked_address, key_in, keyless
from recsmith.language.budget import Price
from recsmith.language.chat_protocol import (
    PassingFailure,
    StreamReader,
    Structured,
    failure_of,
    read_completion,
    request_body,
    require_model,
)
from recsmith.language.completion import Completion, Prompt
from recsmith.language.counting import prompt_tokens
from recsmith.language.pacing import Pace, Retries, retry_after

_LONGEST_ANSWER = 16 * 2**20


class EndpointConfig(Config):
    """Where a model is served and how to treat the server."""

    url: str = "http://localhost:8000/v1"
    """Base URL, up to and including `/v1`."""
    model: str
    """Name of the model, as the server knows it."""
    key_variable: str = "OPENAI_API_KEY"
    """Environment variable that holds the API key; unset or empty sends none. The key itself is never stored."""
    concurrency: int = Field(16, ge=1)
    """Calls under way at a time."""
    timeout: float = Field(60.0, gt=0)
    """Seconds that one call may take."""
    retries: Retries = Retries()
    """What to do when a call fails in a way that may pass."""
    requests_per_minute: float | None = Field(None, gt=0)
    """Calls a minute at most."""
    tokens_per_minute: float | None = Field(None, gt=0)
    """Tokens a minute at most, estimated before the call as prompt and longest answer."""
    streaming: bool = False
    """Fetch every answer as a stream, for servers that cut long connections."""
    structured: Structured = "none"
    """What the server enforces of an answer's form: none, json-object or json-schema; the parser checks it in any case."""
    same_model: bool = True
    """Refuse answers of a model whose name does not begin with `model`."""
    price: Price = Price()
    """What it charges, for estimates and budgets."""


@dataclass
class _Connections:
    """What belongs to one event loop."""

    loop: asyncio.AbstractEventLoop
    client: Any
    places: asyncio.Semaphore
    requests: Pace
    tokens: Pace


class EndpointBackend:
    """A model behind HTTP.

    A call that fails in a way that may pass (no connection, a timeout, 408, 409, 425, 429, 5xx, a broken or unreadable answer, another
    model's answer) is repeated after a wait with jitter, never before the server's Retry-After; its place is free while it waits.
    Everything else is a `BackendError` at once, with the server's message and without the key. Redirects are not followed, so that the
    key goes nowhere else. Proxies that the environment names are used for https alone.
    """

    def __init__(self, config: EndpointConfig) -> None:
        self.config = config
        self._url = checked_address(config.url)
        self._httpx = import_extra("httpx", extra="language", purpose="a language model behind an endpoint")
        self._failures = (self._httpx.TransportError, self._httpx.StreamError, TimeoutError)
        self._random = random.Random()
        self._connections: _Connections | None = None

    @property
    def name(self) -> str:
        """Model and address, without secrets."""
        return f"{self.config.model} at {self._url}"

    @property
    def concurrency(self) -> int:
        """Calls under way at a time."""
        return self.config.concurrency

    @property
    def price(self) -> Price:
        """What it charges."""
        return self.config.price

    async def complete(self, prompt: Prompt) -> Completion:
        """Answer one prompt; raises `BackendError` when the server refuses or the attempts are used up."""
        attempt = 1
        while True:
            try:
                with self._keyless():
                    completion = await self._attempt(prompt)
            except PassingFailure as failure:
                await self._wait(failure, attempt)
                attempt += 1
            else:
                return replace(completion, attempts=attempt)

    async def stream(self, prompt: Prompt) -> AsyncIterator[str]:
        """Pieces of the answer as they come.

        Failures before the first piece are repeated as in `complete`; one after it is a `BackendError`, since what was said cannot be
        taken back.
        """
        attempt, begun = 1, False
        while True:
            reader = StreamReader(self.name)
            try:
                with self._keyless():
                    async for piece in self._pieces(prompt, reader):
                        begun = True
                        yield piece
                    self._checked_answer(reader.completion(prompt))
            except PassingFailure as failure:
                if begun:
                    raise BackendError(f"{self.name} broke off in the middle of its answer: {failure}; ask again") from None
                await self._wait(failure, attempt)
                attempt += 1
            else:
                return

    async def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        connections, self._connections = self._connections, None
        if connections is not None and connections.loop is asyncio.get_running_loop():
            await connections.client.aclose()

    # ---- inside ----

    @property
    def _key(self) -> str:
        return key_in(self.config.key_variable)

    def _keyless(self) -> AbstractContextManager[None]:
        """Around every call: whatever a server says, and wherever it says it, the key does not get into an error."""
        return keyless(self._key, PassingFailure, BackendError)

    async def _attempt(self, prompt: Prompt) -> Completion:
        if not self.config.streaming:
            return await self._whole(prompt)
        reader = StreamReader(self.name)
        async for _ in self._pieces(prompt, reader):
            pass
        return self._checked_answer(reader.completion(prompt))

    async def _whole(self, prompt: Prompt) -> Completion:
        async with self._call(prompt, stream=False) as response:
            body = await self._read(response)
        return self._checked_answer(read_completion(body, prompt, backend=self.name))

    async def _pieces(self, prompt: Prompt, reader: StreamReader) -> AsyncIterator[str]:
        async with self._call(prompt, stream=True) as response:
            async for line in response.aiter_lines():
                piece = reader.feed(line)
                if piece:
                    yield piece
                if reader.ended:
                    return

    @asynccontextmanager
    async def _call(self, prompt: Prompt, *, stream: bool) -> AsyncIterator[Any]:
        """A successful response, not read yet; failures of the connection become `PassingFailure`s."""
        connections = self._connect()
        await connections.requests.wait()
        await connections.tokens.wait(prompt_tokens(prompt) + prompt.sampling.max_tokens)
        body = request_body(prompt, model=self.config.model, stream=stream, structured=self.config.structured)
        key = self._key
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            async with (
                connections.places,
                asyncio.timeout(self.config.timeout),
                connections.client.stream("POST", f"{self._url}/chat/completions", json=body, headers=headers) as response,
            ):
                if response.status_code != 200:
                    raise await self._failure(response)
                yield response
        except self._failures as error:
            reason = (
                f"no answer within {self.config.timeout:g} s" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
            )
            raise PassingFailure(reason) from None

    async def _failure(self, response: Any) -> PassingFailure | BackendError:
        body = await self._read(response)
        wait = retry_after(response.headers.get("Retry-After"))
        return failure_of(response.status_code, body, wait=wait, backend=self.name)

    async def _read(self, response: Any) -> bytes:
        parts, size = [], 0
        async for part in response.aiter_bytes():
            parts.append(part)
            size += len(part)
            if size > _LONGEST_ANSWER:
                raise PassingFailure(f"its answer is longer than {_LONGEST_ANSWER / 2**20:.0f} MB")
        return b"".join(parts)

    def _checked_answer(self, completion: Completion) -> Completion:
        return require_model(completion, self.config.model) if self.config.same_model else completion

    async def _wait(self, failure: PassingFailure, attempt: int) -> None:
        retries = self.config.retries
        if attempt >= retries.attempts:
            raise BackendError(f"{self.name} gave no answer in {attempt} attempts; the last failure: {failure}") from None
        if failure.wait is not None and failure.wait > retries.longest_wait:
            raise BackendError(
                f"{self.name} asks to wait {failure.wait:.0f} s, `retries.longest_wait` allows {retries.longest_wait:g} s; "
                f"wait, or raise it ({failure})"
            ) from None
        await asyncio.sleep(retries.wait(attempt, asked_for=failure.wait, random_=self._random))

    def _connect(self) -> _Connections:
        loop = asyncio.get_running_loop()
        if self._connections is None or self._connections.loop is not loop:
            config = self.config
            limits = self._httpx.Limits(max_connections=config.concurrency, max_keepalive_connections=config.concurrency)
            secure = self._url.startswith("https:")
            client = self._httpx.AsyncClient(timeout=None, limits=limits, follow_redirects=False, trust_env=secure, verify=secure)
            places = asyncio.Semaphore(config.concurrency)
            self._connections = _Connections(loop, client, places, Pace(config.requests_per_minute), Pace(config.tokens_per_minute))
        return self._connections
