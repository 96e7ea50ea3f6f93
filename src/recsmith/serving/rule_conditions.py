"""Conditions on items as the rules file writes them: `{ genres = ["crime"], price = { high = 20 }, not = { provider = "Northlight" } }`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any

from recsmith.decoding import Between, Condition, Fresh, Items, OneOf
from recsmith.errors import ConfigError, suggestion

_RANGE = ("low", "high", "days", "missing")
_EXAMPLE = 'example: { genres = ["crime"], price = { high = 20 } }'


def read_condition(table: Mapping[str, Any]) -> Condition:
    """All parts of the table together (and). Raises `ConfigError` naming the part that cannot be read.

    A part is a column with a value or a list of values (one of them), with `{ low, high }` (numbers, both ends included) or with
    `{ days }` (a time at most so many days ago), each with an optional `missing = true` for items without a value; or `items` with raw
    ids; `not` with a condition; `any` with a list of conditions of which one must hold.
    """
    if not table:
        raise ConfigError(f"a condition without parts says nothing; {_EXAMPLE}")
    return reduce(lambda left, right: left & right, (_part(str(name), value) for name, value in table.items()))


def _part(name: str, value: Any) -> Condition:
    if name == "not":
        return ~read_condition(_table(name, value))
    if name == "any":
        if not isinstance(value, list | tuple) or not value:
            raise ConfigError(f"`any` = {value!r} is not a list of conditions; example: any = [{{ stock = 0 }}, {{ price = 1 }}]")
        return reduce(lambda left, right: left | right, (read_condition(_table("any", part)) for part in value))
    if name == "items":
        return Items(tuple(_scalars(name, value)))
    if isinstance(value, Mapping):
        return _range(name, value)
    return OneOf(name, tuple(_scalars(name, value)))


def _range(name: str, value: Mapping[str, Any]) -> Condition:
    strange = next((key for key in value if key not in _RANGE), None)
    if strange is not None:
        raise ConfigError(f"unknown key `{name}.{strange}` in a condition; {suggestion(str(strange), _RANGE)}")
    missing = value.get("missing", False)
    if not isinstance(missing, bool):
        raise ConfigError(f"`{name}.missing` = {missing!r} is neither true nor false")
    low, high, days = (_number(name, key, value.get(key)) for key in ("low", "high", "days"))
    if days is not None and (low, high) == (None, None):
        return Fresh(days, name, missing)
    if days is not None or (low, high) == (None, None):
        raise ConfigError(f"the condition on `{name}` needs `low`, `high` or both, or `days` alone; {_EXAMPLE}")
    return Between(name, low, high, missing)


def _number(name: str, key: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"`{name}.{key}` = {value!r} is not a number")
    return float(value)


def _scalars(name: str, value: Any) -> list[Any]:
    values = list(value) if isinstance(value, list | tuple) else [value]
    if not values or not all(isinstance(one, str | int | float | bool) for one in values):
        raise ConfigError(f"`{name}` = {value!r} is not a value or a list of values; {_EXAMPLE}")
    return values


def _table(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"`{name}` = {value!r} is not a condition; {_EXAMPLE}")
    return value
