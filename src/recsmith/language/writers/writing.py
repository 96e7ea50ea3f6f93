"""`WritingConfig` and `write`: a writer, the language model that it asks and what it may spend, as a recipe or a command says it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import model_validator

from recsmith.config import Config
from recsmith.data import Dataset, SplitConfig, ViewConfig, require_single_events
from recsmith.errors import DataError
from recsmith.language.answer_cache import AnswerCache
from recsmith.language.asker import Asker
from recsmith.language.backends import BackendConfig, make_backend
from recsmith.language.budget import Budget
from recsmith.language.completion import Backend
from recsmith.language.extracts import ExtractBackend
from recsmith.language.making import asker_of
from recsmith.language.writers import WRITERS
from recsmith.protocols import Progress


class WritingConfig(Config):
    """Which writer adds words, items or events to the data before anything is fitted."""

    name: str
    """Name of the writer, such as llm-rec, kar, genre or llmrec."""
    settings: dict[str, Any] = {}
    """Settings of the writer."""
    backend: BackendConfig = BackendConfig()
    """Which language model; none: extracts of what the prompts tell, offline."""
    budget: Budget = Budget()
    """What may be spent; a spent budget ends the work, and the same command with a larger one goes on from there."""
    cache: str | None = None
    """File that keeps the answers (SQLite); None: `answers.sqlite` in `$RECSMITH_CACHE` or `~/.cache/recsmith`."""

    @model_validator(mode="after")
    def _known(self) -> WritingConfig:
        self.make()
        return self

    def make(self) -> Any:
        """The writer. Raises `UserError` for an unknown name and `ConfigError` for an unknown setting."""
        kind = WRITERS.get(self.name)
        return kind(kind.Config.parse(self.settings, where="writing.settings"))


def write(
    data: Dataset,
    config: WritingConfig,
    *,
    view: ViewConfig,
    split: SplitConfig,
    default_cache: Path,
    backend: Backend | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """The part of `data` that `view` keeps, with what the writer adds; people are told of by their training events under `split` alone.

    Answers are kept in the cache as they come, so that the same call after a kill or with a larger budget pays nothing twice. `backend`
    takes the place of the one that the config names.
    """
    chosen = data.select(view)
    speaker = backend or make_backend(config.backend)
    if speaker is None:
        written = config.make().write(chosen, Asker(ExtractBackend()), split=split)
    else:
        with AnswerCache(Path(config.cache) if config.cache else default_cache / "answers.sqlite") as cache:
            asker = asker_of(speaker, config.backend, budget=config.budget, cache=cache, progress=progress)
            written = config.make().write(chosen, asker, split=split)
    return _bound(written, len(data.source.get("written", [])), view, split)


def require_same_people(data: Dataset, *, view: ViewConfig, split: SplitConfig) -> None:
    """Raise `DataError` where words about people were written from training events of another view or split: they may give answers away."""
    for entry in data.source.get("written", []):
        told, seen = entry.get("told"), entry.get("view")
        if told is not None and (f"({split.hash})" not in told or seen not in (None, view.model_dump(mode="json"))):
            raise DataError(
                f"what `{entry['writer']}` wrote into `{data.name}` comes from {told}, and what is held out here may have been told; "
                "write again for this recipe: recsmith write WRITER --for RECIPE"
            )


def _bound(data: Dataset, before: int, view: ViewConfig, split: SplitConfig) -> Dataset:
    """The data with view and split noted, to which what was written belongs."""
    entries = data.source.get("written", [])
    seen = [*entries[:before], *({**entry, "view": view.model_dump(mode="json")} for entry in entries[before:])]
    data = replace(data, source={**data.source, "written": seen})
    if data.written is None:
        return data
    require_single_events(split)
    facts = {**data.written.facts, "source": data.hash, "split": split.hash}
    return replace(data, written=replace(data.written, facts=facts))
