"""`Registry`: names → objects that are imported only when asked for; strangers add theirs through entry points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from recsmith.errors import UserError, suggestion


class Registry:
    """A table of `name → "module:attribute"`, extended by the entry-point group `recsmith.<kind>s`."""

    def __init__(self, kind: str, table: Mapping[str, str]) -> None:
        self.kind = kind
        self._table = dict(table)

    def names(self) -> list[str]:
        """All names, ours first, in order of declaration."""
        return list(self._table) + [name for name in self._plugins() if name not in self._table]

    def get(self, name: str) -> Any:
        """The object behind `name`; raises `UserError` with a suggestion when there is none."""
        target = self._table.get(name) or self._plugins().get(name)
        if target is None:
            raise UserError(f"unknown {self.kind} `{name}`; {suggestion(name, self.names())}")
        module, _, attribute = target.partition(":")
        return getattr(import_module(module), attribute)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def _plugins(self) -> dict[str, str]:
        group = f"recsmith.{self.kind.replace(' ', '_')}s"
        return {point.name: point.value for point in entry_points(group=group)}
