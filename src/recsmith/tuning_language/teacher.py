"""`TeacherConfig`: the large language model behind a small one: who is asked while data for the small one are written, and at what cost."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from recsmith.config import Config
from recsmith.language.answer_cache import AnswerCache
from recsmith.language.asker import Asker
from recsmith.language.backends import BackendConfig, make_backend
from recsmith.language.budget import Budget
from recsmith.language.completion import Backend
from recsmith.language.dry_run import DryRun
from recsmith.language.extracts import ExtractBackend


class TeacherConfig(Config):
    """Who teaches, and what it may cost."""

    backend: BackendConfig = BackendConfig()
    """Which language model is asked; none: the most frequent words of what it would be told, offline."""
    words: int = Field(12, ge=1)
    """Words of such an answer where there is no language model."""
    budget: Budget = Budget()
    """What may be spent; a spent budget ends the run, and the same command with a larger one goes on from there."""
    cache: str | None = None
    """File that keeps the answers (SQLite); None: `answers.sqlite` in `$RECSMITH_CACHE` or `~/.cache/recsmith`."""

    def asker(self, backend: Backend | None = None) -> Asker:
        """Who is asked; `backend` takes the place of the one named here."""
        from recsmith.encoders.encode import default_cache

        chosen = backend or make_backend(self.backend)
        if chosen is None:
            return Asker(ExtractBackend(self.words))
        cache = AnswerCache(Path(self.cache) if self.cache else default_cache() / "answers.sqlite")
        if self.backend.dry_run:
            return Asker(DryRun(chosen, cache=cache))
        return Asker(chosen, cache=cache, budget=self.budget)
