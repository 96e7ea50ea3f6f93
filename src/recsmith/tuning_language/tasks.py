"""Task texts: typed templates of what a language model is asked and should answer, and the cases that fill them."""

from __future__ import annotations

import string
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, model_validator

from recsmith.config import Config
from recsmith.errors import ConfigError, UserError, suggestion

Family = Literal["rating", "sequential", "direct", "explanation", "review", "alignment", "preference", "choice", "writing", "rationale",
    "masked", "pairwise"]  # fmt: skip
"""The five task families of P5 (rating prediction, sequential, direct, explanation, review); alignment of words with items (LC-Rec);
preference (yes or no, TALLRec), choice among candidates (LlamaRec) writing the next title (BIGRec), rationale of a
review (RDRec), the item that is left out, and which of two items (ReAT)."""

FIELDS = (
    "user", "item", "history", "rating", "aspect", "review", "summary", "title", "titles", "rated", "disliked", "suggested", "candidates",
    "options", "following", "answer", "taste", "wish",
    "preference", "attributes", "masked", "pair",
)  # fmt: skip
"""Open places: user, item and history are tokens of their own; title (of the item), titles (of the history), rated (these with their
ratings), disliked, suggested (by another recommender), candidates (lettered), options (candidates without letters) and following (what came
next, in order) are words of items; masked (the history with a gap) and pair (the candidates) are items as tokens;
the others are words as given."""


class TaskTemplate(Config):
    """One way to put a task into words."""

    family: Family
    """Which task family it belongs to."""
    name: str
    """Its name, for provenance."""
    input: str
    """What is asked; `{field}` is an open place."""
    target: str
    """What should be answered."""
    candidates: int | None = Field(None, ge=2)
    """How many candidates it is to be asked about; None: as many as the model judges."""

    @model_validator(mode="after")
    def _checked(self) -> TaskTemplate:
        for text in (self.input, self.target):
            for name in places(text):
                if name not in FIELDS:
                    raise ValueError(f"template `{self.name}` names `{name}`, which is no field; {suggestion(name, FIELDS)}")
        return self

    @property
    def fields(self) -> set[str]:
        """Open places of input and target."""
        return {*places(self.input), *places(self.target)}


class TaskSet(Config):
    """The templates of one system."""

    title: str
    """What it is for."""
    source: str
    """Paper whose idea of tasks it follows."""
    template: list[TaskTemplate] = Field(min_length=1)
    """The templates; several of a family are drawn with equal probability."""

    def of(self, family: Family) -> list[TaskTemplate]:
        """The templates of a family, in order."""
        return [one for one in self.template if one.family == family]

    def named(self, name: str) -> TaskTemplate:
        """The template of this name, "" for the first. Raises `UserError` for a name that is none."""
        found = [one for one in self.template if name in ("", one.name)]
        if not found:
            raise UserError(f"the tasks `{self.title}` have no template `{name}`; {suggestion(name, [one.name for one in self.template])}")
        return found[0]

    @property
    def families(self) -> list[Family]:
        """Families that have a template, in the order of `Family`."""
        return [family for family in get_args(Family) if self.of(family)]

    def words(self) -> list[str]:
        """All fixed words, for a tokenizer to learn."""
        return [before for one in self.template for text in (one.input, one.target) for before, _ in pieces(text)]


@dataclass(frozen=True)
class Case:
    """What one question is about, all from training events."""

    user: int = -1
    """User index, -1 for a stranger."""
    item: int = -1
    """The item in question."""
    history: Sequence[int] = ()
    """Items before it, oldest first."""
    disliked: Sequence[int] = ()
    """Items that did not please, oldest first."""
    candidates: Sequence[int] = ()
    """Items to choose from, in the order of their letters."""
    ratings: Sequence[float] = ()
    """Ratings of the history, one for each of its items."""
    suggested: Sequence[int] = ()
    """What another recommender puts first, best first."""
    following: Sequence[int] = ()
    """Items that came next, in order."""
    words: dict[str, str] = field(default_factory=dict)
    """Values of the fields that are words as given."""
    template: str = ""
    """Name of the template that asks it; empty: the task set's first."""


@dataclass(frozen=True)
class TextPair:
    """A question and its answer as texts, and where they come from."""

    input: str
    target: str
    family: Family
    template: str
    user: int
    item: int


def pieces(text: str) -> list[tuple[str, str | None]]:
    """A template as (words, the field behind them), the field None at the end."""
    return [(before, name) for before, name, _, _ in string.Formatter().parse(text)]


def places(text: str) -> list[str]:
    """Names of the open places of a text, in order."""
    return [name for _, name in pieces(text) if name is not None]


def task_sets() -> list[str]:
    """The task sets that come with the library."""
    folder = files("recsmith.tuning_language") / "templates"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_tasks(name: str) -> TaskSet:
    """A task set by name, or from the path of a `.toml` file. Raises `UserError` or `ConfigError` for what is none."""
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise UserError(f"no task set at `{path}`; give a .toml file or a name: {', '.join(task_sets())}")
        return _parse(path.read_text(encoding="utf-8"), where=f"`{path}`")
    if name not in task_sets():
        raise UserError(f"unknown task set `{name}`; {suggestion(name, task_sets())}")
    return _parse(
        (files("recsmith.tuning_language") / "templates" / f"{name}.toml").read_text(encoding="utf-8"), where=f"task set `{name}`"
    )


def _parse(text: str, *, where: str) -> TaskSet:
    try:
        values: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where} is not readable TOML: {error}") from None
    return TaskSet.parse(values, where="tasks")
