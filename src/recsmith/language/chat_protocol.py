"""The OpenAI chat protocol without HTTP: bodies of requests, and what answers, streams and refusals mean."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from recsmith.errors import BackendError
from recsmith.language.completion import Completion, Finish, Prompt
from recsmith.language.counting import estimate_tokens, prompt_tokens

Structured = Literal["none", "json-object", "json-schema"]

PASSING_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
"""HTTP statuses that may be gone at the next call."""
_NO_MONEY = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
_FINISHES: dict[str, Finish] = {"stop": "stop", "length": "length", "content_filter": "filter"}
_SHOWN = 300


class PassingFailure(Exception):
    """A failure that may be gone at the next call; `wait` is what the server asked for, in seconds."""

    def __init__(self, reason: str, *, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def request_body(prompt: Prompt, *, model: str, stream: bool, structured: Structured) -> dict[str, Any]:
    """The JSON body of a call."""
    sampling = prompt.sampling
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": message.role, "content": message.content} for message in prompt.messages],
        "temperature": sampling.temperature,
        "max_tokens": sampling.max_tokens,
    }
    if sampling.top_p < 1:
        body["top_p"] = sampling.top_p
    if sampling.seed is not None:
        body["seed"] = sampling.seed + prompt.draw
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body | _form(prompt, structured)


def _form(prompt: Prompt, structured: Structured) -> dict[str, Any]:
    if prompt.schema is None or structured == "none":
        return {}
    if structured == "json-object":
        return {"response_format": {"type": "json_object"}}
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": dict(prompt.schema)}}}


def read_completion(body: bytes, prompt: Prompt, *, backend: str) -> Completion:
    """The answer in the body of a whole response; raises `PassingFailure` when it is no such thing."""
    document = _json(body)
    choice = _first_choice(document)
    text = _part(choice, "message").get("content")
    finish = _FINISHES.get(str(choice.get("finish_reason")), "stop")
    if not isinstance(text, str):
        if finish != "filter":
            raise PassingFailure("its answer holds no text")
        text = ""
    return _completion(text, document, finish, prompt, backend)


@dataclass
class StreamReader:
    """Collects a streamed answer line by line."""

    backend: str
    pieces: list[str] = field(default_factory=list)
    finish: Finish | None = None
    ended: bool = False
    _about: dict[str, Any] = field(default_factory=dict)

    def feed(self, line: str) -> str:
        """The piece of text that a line of the stream brings, "" for none; raises `PassingFailure` for an unreadable line."""
        if not line.startswith("data:"):
            return ""
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            self.ended = True
            return ""
        document = _json(data.encode())
        if "error" in document:
            raise PassingFailure(f"its stream reports an error: {_error_text(document)}")
        self._about |= {key: document[key] for key in ("model", "usage") if document.get(key)}
        return self._take(_first_choice(document)) if document.get("choices") else ""

    def _take(self, choice: dict[str, Any]) -> str:
        if choice.get("finish_reason"):
            self.finish = _FINISHES.get(str(choice["finish_reason"]), "stop")
        piece = _part(choice, "delta").get("content") or ""
        if not isinstance(piece, str):
            raise PassingFailure("its stream holds a piece that is no text")
        self.pieces.append(piece)
        return piece

    def completion(self, prompt: Prompt) -> Completion:
        """The whole answer; raises `PassingFailure` when the stream broke off before its end."""
        if self.finish is None:
            raise PassingFailure("its stream broke off")
        return _completion("".join(self.pieces), self._about, self.finish, prompt, self.backend)


def require_model(completion: Completion, model: str) -> Completion:
    """The answer, if it is of the model asked for; raises `PassingFailure` otherwise."""
    if completion.model and not completion.model.startswith(model):
        raise PassingFailure(f"it answered with the model {completion.model!r} instead of {model!r}")
    return completion


def failure_of(status: int, body: bytes, *, wait: float | None, backend: str) -> PassingFailure | BackendError:
    """What a response that is no success means: worth another call, or final."""
    text = _error_text(_lenient(body))
    if status in PASSING_STATUSES and not any(code in body.decode("utf-8", "replace") for code in _NO_MONEY):
        return PassingFailure(f"status {status}: {text}", wait=wait)
    return BackendError(f"{backend} refused the prompt with status {status}: {text}; {_advice(status)}")


def _advice(status: int) -> str:
    if status in (401, 403):
        return "check the API key in the environment variable that `key_variable` names"
    if status == 404:
        return "check `url` (it ends in /v1) and `model`"
    if status in (400, 413, 422):
        return "check that the prompt fits the model and that it takes these parameters"
    if status == 429:
        return "the account has no money left"
    if 300 <= status < 400:
        return "the address has moved: give the new one as `url`"
    return "ask whoever runs it"


def _completion(text: str, document: dict[str, Any], finish: Finish, prompt: Prompt, backend: str) -> Completion:
    usage = _part(document, "usage")
    details = _part(usage, "prompt_tokens_details")
    return Completion(
        text,
        backend,
        str(document.get("model") or ""),
        _count(usage.get("prompt_tokens"), otherwise=prompt_tokens(prompt)),
        _count(usage.get("completion_tokens"), otherwise=estimate_tokens(text)),
        _count(details.get("cached_tokens"), otherwise=0),
        finish,
    )


def _count(value: Any, *, otherwise: int) -> int:
    return value if isinstance(value, int) and value >= 0 else otherwise


def _first_choice(document: dict[str, Any]) -> dict[str, Any]:
    choices = document.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise PassingFailure("its answer holds no choices")
    return choices[0]


def _part(document: dict[str, Any], name: str) -> dict[str, Any]:
    """A part that should be an object; an empty one where the server sends something else."""
    part = document.get(name)
    return part if isinstance(part, dict) else {}


def _json(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        raise PassingFailure(f"its answer is not JSON: {body[:60]!r}") from None
    if not isinstance(document, dict):
        raise PassingFailure("its answer is not a JSON object")
    return document


def _lenient(body: bytes) -> dict[str, Any]:
    try:
        return _json(body)
    except PassingFailure:
        return {"error": body.decode("utf-8", "replace")}


def _error_text(document: dict[str, Any]) -> str:
    error = document.get("error", document)
    message = error.get("message", error) if isinstance(error, dict) else error
    text = " ".join(str(message).split())
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
