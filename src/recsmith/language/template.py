"""`Template`: a prompt as a TOML file: its fields with their types, and its sections with role, priority and what may be left out."""

from __future__ import annotations

import hashlib
import json
import os
import string
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from recsmith.config import Config
from recsmith.errors import ConfigError, UserError, suggestion
from recsmith.language.completion import Sampling

FieldType = Literal["text", "number", "items", "numbered"]
"""text: a person's or an item's words; number; items: a list of item texts; numbered: a list that answers refer to by number."""


class Section(Config):
    """A paragraph of the prompt."""

    name: str
    """Its name, for overriding and for the record of what was left out."""
    text: str
    """Its words; `{field}` puts a value there, always as data."""
    role: Literal["system", "user"] = "user"
    """Who says it: system for instructions, user for the case at hand."""
    required: bool = True
    """Whether the prompt is an error without it; a section that is not required goes when its field is empty or the space runs out."""
    priority: int = 0
    """Which sections are shortened first when the space runs out: those of smaller numbers."""
    keep: Literal["all", "first", "last"] = "all"
    """Which end of a list stays when it is shortened; all: the list is never shortened."""


class Template(Config):
    """A prompt with open places."""

    name: str
    """Name of the file, without `.toml`."""
    title: str
    """What it is for."""
    source: str = ""
    """Paper whose wording idea it follows."""
    version: int = 1
    """Grows when the wording changes; part of every record."""
    fields: dict[str, FieldType] = {}
    """Open places and their types."""
    longest_text: int = Field(300, ge=10)
    """Characters of one quoted text at most."""
    sampling: Sampling = Sampling()
    """How answers are drawn."""
    section: list[Section]
    """The paragraphs, in order."""

    @model_validator(mode="after")
    def _checked(self) -> Template:
        for section in self.section:
            for name in places(section.text):
                if name not in self.fields:
                    raise ValueError(f"section `{section.name}` names `{name}`, which is no field; {suggestion(name, self.fields)}")
            shortened = [name for name in places(section.text) if self.fields[name] in ("items", "numbered")]
            if section.keep != "all" and len(shortened) != 1:
                raise ValueError(f"section `{section.name}` keeps the {section.keep} of a list but names {len(shortened)} lists; name one")
        return self

    @property
    def hash(self) -> str:
        """Eight hexadecimal digits of everything that decides the prompt."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()[:8]


def places(text: str) -> list[str]:
    """Names of the open places of a text, in order."""
    return [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]


def template_names() -> list[str]:
    """The templates that come with the library."""
    folder = files("recsmith.language") / "templates"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_template(name: str, *, folder: str | Path | None = None) -> Template:
    """A template by name: from `folder`, else from `$RECSMITH_TEMPLATES`, else ours; or a path of a `.toml` file.

    A file of the same name in the user's folder takes the place of ours. Raises `UserError` for an unknown name and `ConfigError` for a
    file that cannot be used.
    """
    if name.endswith(".toml"):
        return _read(Path(name))
    own = folder or os.environ.get("RECSMITH_TEMPLATES")
    if own is not None and (Path(own) / f"{name}.toml").exists():
        return _read(Path(own) / f"{name}.toml")
    if name not in template_names():
        raise UserError(f"unknown prompt template `{name}`; {suggestion(name, template_names())}")
    text = (files("recsmith.language") / "templates" / f"{name}.toml").read_text(encoding="utf-8")
    return _parse(text, name, where=f"template `{name}`")


def _read(path: Path) -> Template:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"no prompt template at `{path}`; give a .toml file or a name: {', '.join(template_names())}") from None
    return _parse(text, path.stem, where=f"`{path}`")


def _parse(text: str, name: str, *, where: str) -> Template:
    try:
        values: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where} is not readable TOML: {error}") from None
    return Template.parse({"name": name, **values}, where=name)
