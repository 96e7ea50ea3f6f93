"""`TeacherConfig`: the large language model behind a small one: who is asked while data for the small one are written, and at what cost."""

from __future__ import annotations

from pydantic import Field

from recsmith.config import Config
from recsmith.language.asker import Asker
from recsmith.language.backends import BackendConfig
from recsmith.language.budget import Budget
from recsmith.language.completion import Backend
from recsmith.language.extracts import ExtractBackend
from recsmith.language.making import make_asker


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
        found = make_asker(self.backend, budget=self.budget, cache=self.cache, backend=backend)
        return Asker(ExtractBackend(self.words)) if found is None else found
