"""`BackendConfig` and `make_backend`: which language model, as a recipe or a command says it."""

from __future__ import annotations

from typing import Literal

from recsmith.config import Config
from recsmith.errors import ConfigError
from recsmith.language.completion import Backend
from recsmith.language.endpoint import EndpointBackend, EndpointConfig
from recsmith.language.local import LocalBackend, LocalConfig


class BackendConfig(Config):
    """Which language model answers."""

    kind: Literal["none", "endpoint", "local"] = "none"
    """none: no language model, the embedded default of whoever asks; endpoint: over HTTP; local: from a folder."""
    endpoint: EndpointConfig | None = None
    """Address, model and limits of an endpoint."""
    local: LocalConfig | None = None
    """Folder of a local model."""
    on_failure: Literal["stop", "keep"] = "stop"
    """A prompt that gets no answer: stop ends the work (answers so far are kept), keep goes on without it and counts it."""
    dry_run: bool = False
    """Ask nothing and count what it would cost at most; what the cache knows is answered from there, all else with nothing."""


def make_backend(config: BackendConfig) -> Backend | None:
    """The backend, None for `none`. Raises `ConfigError` when its settings are missing."""
    if config.kind == "none":
        return None
    if config.kind == "endpoint":
        if config.endpoint is None:
            raise ConfigError(
                "backend kind `endpoint` needs `endpoint.url` and `endpoint.model`; for example --set model.backend.endpoint.model=…"
            )
        return EndpointBackend(config.endpoint)
    if config.local is None:
        raise ConfigError("backend kind `local` needs `local.folder`; for example --set model.backend.local.folder=models/qwen")
    return LocalBackend(config.local)
