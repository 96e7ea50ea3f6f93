"""`make_asker`: who is asked, as the settings of a system say it."""

from __future__ import annotations

from pathlib import Path

from recsmith.language.answer_cache import AnswerCache
from recsmith.language.asker import Asker
from recsmith.language.backends import BackendConfig, make_backend
from recsmith.language.budget import Budget
from recsmith.language.completion import Backend
from recsmith.language.dry_run import DryRun
from recsmith.protocols import Progress
from recsmith.runtime import default_cache


def make_asker(config: BackendConfig, *, budget: Budget, cache: str | None, backend: Backend | None = None) -> Asker | None:
    """The asker of the backend that `config` names, or of `backend` in its place; None where there is nobody.

    `cache` is the file that keeps the answers; None: `answers.sqlite` in the cache folder.
    """
    chosen = backend or make_backend(config)
    if chosen is None:
        return None
    return asker_of(chosen, config, budget=budget, cache=AnswerCache(Path(cache) if cache else default_cache() / "answers.sqlite"))


def asker_of(backend: Backend, config: BackendConfig, *, budget: Budget, cache: AnswerCache, progress: Progress | None = None) -> Asker:
    """The asker of `backend` that does with failures, and in a dry run, what `config` says; a dry run knows no budget."""
    if config.dry_run:
        return Asker(DryRun(backend, cache=cache), progress=progress)
    return Asker(backend, cache=cache, budget=budget, on_failure="keep" if config.on_failure == "keep" else "raise", progress=progress)
