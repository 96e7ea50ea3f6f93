"""`ServerConfig`: how one server runs; from a TOML file, then `RECSMITH_…` in the environment, then the command line."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from recsmith.config import Config
from recsmith.errors import ConfigError

PREFIX = "RECSMITH_SERVE_"
"""Environment variables of the server begin with this: `RECSMITH_SERVE_PORT=9000`."""


class ServerConfig(Config):
    """Settings of `recsmith serve`."""

    host: str = "127.0.0.1"
    """Address to listen on; only this machine unless told otherwise."""
    port: int = Field(8000, ge=0, le=65535)
    """Port to listen on; 0 takes any free one and prints it."""
    store: str = "sqlite:///recsmith.db"
    """SQLAlchemy URL of the state: `sqlite:///file.db` or `postgresql+psycopg://user@host/name`."""
    models: Path | None = None
    """Folder with the run folders that may be activated; None takes the folder that the served run is in."""
    access: Literal["keys", "open"] = "keys"
    """keys: every request names an API key; open: anybody may do anything, possible only on a loopback address."""
    certificate: Path | None = None
    """TLS certificate chain, PEM; with `private_key`."""
    private_key: Path | None = None
    """TLS private key, PEM; with `certificate`."""
    deadline_ms: int = Field(1000, ge=1, le=60_000)
    """Milliseconds after which an answer no longer waits for the model and falls back; a request may ask for its own."""
    max_batch: int = Field(64, ge=1, le=1024)
    """Most requests that are answered in one pass of the model."""
    max_waiting: int = Field(2000, ge=1)
    """Requests that may wait for the model; further ones fall back at once."""
    model_threads: int = Field(1, ge=1, le=256)
    """CPU threads of the model."""
    cache_answers: int = Field(20_000, ge=0)
    """Answers kept for repeated questions; 0 keeps none."""
    cache_seconds: float = Field(60.0, gt=0)
    """Seconds for which a kept answer is given again as long as nothing that it depends on has changed."""
    cache_histories: int = Field(100_000, ge=1)
    """People whose live histories are kept in memory; those of others are read from the store when they are asked for."""
    max_history: int = Field(500, ge=1, le=10_000)
    """Live events of one person that are read, the most recent ones."""
    history_kinds: tuple[str, ...] = ("view", "click", "cart", "purchase", "like", "rating")
    """Kinds of events that belong to a person's history and to popularity; others are only kept."""
    half_life_hours: float = Field(72.0, gt=0)
    """Hours after which an event counts half in what is trending."""
    record_lists: bool = True
    """Whether every answer is written down with its model and propensities."""
    max_body: int = Field(4 * 1024 * 1024, ge=1024)
    """Largest request body, in bytes."""
    body_seconds: float = Field(10.0, gt=0)
    """Seconds that a body may take to arrive."""
    rate_per_second: float = Field(5000.0, gt=0)
    """Requests per second that one key may make over time; twice as many at once."""
    guard_answers: int = Field(200, ge=1)
    """First answers of a newly activated model that are watched."""
    guard_failures: float = Field(0.05, ge=0, le=1)
    """Share of failures among the watched answers above which the model before comes back by itself."""
    retry_after: int = Field(2, ge=1)
    """Seconds that clients are told to wait while the store is away."""
    log: Literal["all", "problems", "none"] = "problems"
    """Which requests are logged, as JSON lines without user data: all of them, those that failed, or none."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.access == "open" and not is_loopback(self.host):
            raise ValueError(f"access `open` is only possible on a loopback address, not on {self.host!r}; use access `keys`")
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("`certificate` and `private_key` go together; give both or none")
        if not self.store.startswith(("sqlite:///", "postgresql+psycopg://", "postgresql://")):
            raise ValueError(f"store {self.store.partition(':')[0]!r} is not known; allowed: sqlite:///FILE, postgresql://user@host/name")
        return self


def read_config(file: Path | None, given: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> ServerConfig:
    """The command line's `given` over the environment over the file over the defaults. Raises `ConfigError`."""
    values = {} if file is None else _read_file(file)
    environment = os.environ if environment is None else environment
    for name, text in environment.items():
        if name.startswith(PREFIX):
            values[name.removeprefix(PREFIX).lower()] = text
    values.update({name: value for name, value in given.items() if value is not None})
    return ServerConfig.parse(values, where="serve")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _read_file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"settings file `{file}` cannot be read ({error}); give an existing TOML file") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"settings file `{file}` is not TOML ({error}); correct it") from None
