"""`Config`: the frozen, strict base of every settings object; unknown keys are errors with a suggestion."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from recsmith.errors import ConfigError, suggestion


class Config(BaseModel):
    """Settings of one component. Each field's docstring, with its unit, is also its help text."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, where: str = "") -> Self:
        """Validate `values`; raises `ConfigError` with one line per problem. `where` prefixes the names of keys."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigError("; ".join(_explain(cls, detail, where) for detail in error.errors())) from None

    def override(self, **changes: Any) -> Self:
        """A validated copy with some fields changed."""
        return type(self).parse({**self.model_dump(), **changes})


def _explain(cls: type[BaseModel], detail: Any, where: str) -> str:
    path = [str(part) for part in detail["loc"]]
    name = ".".join([where, *path] if where else path)
    if detail["type"] == "extra_forbidden":
        return f"unknown setting `{name}`; {suggestion(path[-1], _fields_at(cls, path[:-1]))}"
    message = detail["msg"].removeprefix("Value error, ")
    if not path:
        return f"settings{f' of `{where}`' if where else ''}: {message}"
    return f"setting `{name}` = {detail.get('input')!r}: {message[:1].lower()}{message[1:]}"


def _fields_at(cls: type[BaseModel], path: Sequence[str]) -> list[str]:
    for part in path:
        field = cls.model_fields.get(part)
        annotation = field.annotation if field else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        cls = annotation
    return list(cls.model_fields)


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """`["model.dim=64", "training.epochs=3"]` → `{"model": {"dim": 64}, "training": {"epochs": 3}}`; values are TOML, else text."""
    result: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"setting {assignment!r} is not of the form key=value; example: --set training.epochs=5")
        *parents, leaf = key.strip().split(".")
        node = result
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = _toml_value(text.strip())
    return result


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dictionaries merged; `changes` win."""
    merged = dict(base)
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged
