"""`make_asker`: who is asked, as the settings of a system say it."""

from __future__ import annotations

from pathlib import Path

from recsmith.language.answer_cache import AnswerCache
from recsmith.language.asker import Asker
from recsmith.language.backends import BackendConfig, make_backend
from recsmith.language.budget import Budget
from recsmith.language.completion import Backend
from recsmith.language.dry_run import DryRun
from recsmith.runtime import default_cache


def make_asker(config: BackendConfig, *, budget: Budget, cache: str | None, backend: Backend | None = None) -> Asker | None:
    """The asker of the backend that `config` names, or of `backend` in its place; None where there is nobody.

    `cache` is the file that keeps the answers; None: `answers.sqlite` in the cache folder.
    """
    chosen = backend or make_backend(config)
    if chosen is None:
        return None
    answers = AnswerCache(Path(cache) if cache else default_cache() / "answers.sqlite")
    if config.dry_run:
        return Asker(DryRun(chosen, cache=answers))
    return Asker(chosen, cache=answers, budget=budget)
