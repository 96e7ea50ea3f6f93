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


class RefitConfig(Config):
    """When and how the model is fitted again on what the store has gathered; the section `[refit]`."""

    every_hours: float | None = Field(None, gt=0)
    """Hours between two runs; None: only when `POST /refit` asks for one."""
    how: Literal["fit", "update"] = "fit"
    """fit: from the start, with all items that there are; update: on from the old weights, without new items."""
    least_events: int = Field(100, ge=1)
    """New events below which a scheduled run is left out."""
    activate: bool = False
    """Whether a finished scheduled run goes into service by itself; the guard of new models watches it."""
    keep: int = Field(3, ge=1)
    """Finished runs that are kept; older ones are deleted, but never one that is in service, was before, or is shown by an experiment."""
    settings: tuple[str, ...] = ()
    """Changed settings of the recipe, as for `--set`: `["training.epochs=5"]`."""


class SecondModelConfig(Config):
    """A slower model, such as a language ranker, for people of whom little is known; the section `[second_model]`."""

    model: str | None = None
    """Run folder inside `models`; None: the model in service answers everybody."""
    at_most_events: int = Field(5, ge=1)
    """Events of a history up to which it answers; an empty history is never its business."""
    per_minute: float = Field(60.0, gt=0)
    """Answers that it may give; beyond them the model in service answers."""
    cache_seconds: float = Field(3600.0, gt=0)
    """Seconds for which its answer is given again as long as nothing that it depends on has changed."""


class ServerConfig(Config):
    """Settings of `recsmith serve`."""

    host: str = "127.0.0.1"
    """Address to listen on; only this machine unless told otherwise."""
    port: int = Field(8000, ge=0, le=65535)
    """Port to listen on; 0 takes any free one and prints it."""
    store: str = "sqlite:///recsmith.db"
    """SQLAlchemy URL of the state: `sqlite:///file.db` or `postgresql+psycopg://user@host/name`."""
    workers: int = Field(1, ge=1, le=64)
    """Processes that answer on the one address; several need a PostgreSQL store, and are fast with `redis`."""
    redis: str | None = None
    """URL of a Redis (`redis://host:6379/0`) through which workers, also those of other machines, learn what the others did."""
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
    experiments: Path | None = None
    """TOML file with experiments, a holdout and exploration that hold from the start; see the guide."""
    max_batch: int = Field(64, ge=1, le=1024)
    """Most requests that are answered in one pass of the model."""
    max_waiting: int = Field(2000, ge=1)
    """Requests that may wait for the model; further ones fall back at once."""
    model_threads: int = Field(1, ge=1, le=256)
    """CPU threads of the model."""
    accelerate: bool = False
    """Whether weights are packed where a trial at the start finds that faster here; lists may then differ in up to 1 % of their items."""
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
    search: Literal["words", "hybrid"] = "words"
    """words: `/search` finds items that share words with the query; hybrid: also those that mean the same (MiniLM, the extra `text`)."""
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
    guard_fallbacks: float = Field(0.1, ge=0, le=1)
    """Share of fallbacks among the watched answers beyond that of the model before, above which that one comes back."""
    guard_slower: float = Field(3.0, ge=1)
    """Times the 95th percentile of seconds of the model before, above which that one comes back (and above 50 ms)."""
    guard_hours: float = Field(24.0, gt=0, le=24 * 31)
    """Hours for which the clicks of a newly activated model are watched, and as many before it are its measure."""
    guard_seconds: float = Field(30.0, ge=0.05)
    """Seconds between two looks at the clicks."""
    guard_click_seconds: float = Field(600.0, gt=0)
    """Seconds that a list has to lead to an event that names it; younger lists do not count yet."""
    guard_clicks: float = Field(0.1, ge=0, le=1)
    """Share by which clicks per list may fall; a larger fall, shown beyond doubt, brings the model before back."""
    guard_people: int = Field(200, ge=2)
    """People on each side before clicks are compared."""
    guard_kinds: tuple[str, ...] = ("click", "cart", "purchase", "like")
    """Kinds of events that count as something that a list led to."""
    retry_after: int = Field(2, ge=1)
    """Seconds that clients are told to wait while the store is away."""
    traces: str | None = None
    """Address of an OpenTelemetry collector (`http://127.0.0.1:4318/v1/traces`), with the extra `traces`; None traces nothing."""
    traces_share: float = Field(1.0, ge=0, le=1)
    """Share of the requests that are traced; those that come with a trace follow that."""
    refit: RefitConfig = RefitConfig()
    """When and how the model is fitted again; see `RefitConfig`."""
    second_model: SecondModelConfig = SecondModelConfig()
    """Who is answered by a second model, within what budget; see `SecondModelConfig`."""
    log: Literal["all", "problems", "none"] = "problems"
    """Which requests are logged, as JSON lines without user data: all of them, those that failed, or none."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.access == "open" and not is_loopback(self.host):
            raise ValueError(f"access `open` is only possible on a loopback address, not on {self.host!r}; use access `keys`")
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("`certificate` and `private_key` go together; give both or none")
        if self.traces is not None and not self.traces.startswith(("http://", "https://")):
            raise ValueError(f"traces {self.traces!r} is no address; write http://127.0.0.1:4318/v1/traces")
        if not self.store.startswith(("sqlite:///", "postgresql+psycopg://", "postgresql://")):
            raise ValueError(f"store {self.store.partition(':')[0]!r} is not known; allowed: sqlite:///FILE, postgresql://user@host/name")
        if self.shared and self.store.startswith("sqlite"):
            given = f"{self.workers} workers" if self.workers > 1 else "a Redis"
            raise ValueError(f"{given} need a store that workers can share, not SQLite; give a store postgresql://user@host/name")
        if self.redis is not None and not self.redis.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError(f"redis {self.redis.partition('@')[2] or self.redis!r} is no address; write redis://host:6379/0")
        return self

    @property
    def shared(self) -> bool:
        """Whether other workers may serve the same store."""
        return self.workers > 1 or self.redis is not None


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
