"""`form_of`: a JSON schema as a graph of places in an answer, one step a character."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from recsmith.errors import UserError

_READ = {"type", "enum", "properties", "items"}
_NEEDLESS = {"title", "description", "default", "examples", "required", "additionalProperties"}
"""Keywords that demand nothing more: an answer has all properties and no others."""
_DIGITS = 15
_NUMERALS = "0123456789"


class Place:
    """A place in an answer, between two characters."""

    def __init__(self, edges: Mapping[str, Place] | None = None) -> None:
        self.edges = dict(edges or {})
        """Character → the place behind it; none at the end of the answer."""
        self.rest: Place | None = None
        """The place behind any other character but control characters."""

    def after(self, text: str) -> Place | None:
        """The place behind a text; None where it may not stand here."""
        here: Place | None = self
        for character in text:
            if here is None:
                return None
            here = here.edges.get(character) or (here.rest if character >= " " else None)
        return here


def form_of(schema: Mapping[str, Any]) -> Place:
    """The beginning of an answer of this form: an object on one line, with all properties in their order.

    Properties may be strings, integers, numbers (at most 15 digits before and after the point), booleans, an `enum`, arrays and objects
    of these. Raises `UserError` for anything else that a schema may demand.
    """
    if schema.get("type") != "object":
        raise UserError(f"a local model cannot be held to the JSON type {schema.get('type')!r} alone; make it a property of an object")
    return _value(schema, Place())


# ---- inside: every part is built from its end, so that what follows is known ----


def _value(schema: Mapping[str, Any], after: Place) -> Place:
    unknown = sorted(set(schema) - _READ - _NEEDLESS)
    if unknown:
        raise UserError(f"a local model cannot be held to `{unknown[0]}` of a JSON schema; leave it out and check it in the answer")
    if schema.get("enum"):
        return _one_of([json.dumps(value, ensure_ascii=False) for value in schema["enum"]], after)
    kind = schema.get("type")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise UserError(f"a local model cannot be held to the JSON type {kind!r}; allowed: {', '.join(_KINDS)}, or an `enum`")
    return _KINDS[kind](schema, after)


def _literal(text: str, after: Place) -> Place:
    for character in reversed(text):
        after = Place({character: after})
    return after


def _one_of(texts: Sequence[str], after: Place) -> Place:
    """Any of the texts; where one ends and another goes on (1 and 10), what follows both may stand."""
    ways: defaultdict[str, list[str]] = defaultdict(list)
    for text in filter(None, texts):
        ways[text[0]].append(text[1:])
    if not ways:
        return after
    further = {character: _one_of(rest, after) for character, rest in ways.items()}
    return Place({**(after.edges if "" in texts else {}), **further})


def _object(schema: Mapping[str, Any], after: Place) -> Place:
    place = _literal("}", after)
    entries = list(schema.get("properties", {}).items())
    for number, (name, value) in reversed(list(enumerate(entries))):
        before = f"{', ' if number else ''}{json.dumps(name, ensure_ascii=False)}: "
        place = _literal(before, _value(value, place))
    return _literal("{", place)


def _array(schema: Mapping[str, Any], after: Place) -> Place:
    gap = Place()
    entry = _value(schema.get("items", {}), Place({",": gap, "]": after}))
    gap.edges[" "] = entry
    return _literal("[", Place({**entry.edges, "]": after}))


def _string(_: Mapping[str, Any], after: Place) -> Place:
    inside = Place({'"': after})
    inside.edges["\\"] = Place(dict.fromkeys('"\\/bfnrt', inside))
    inside.rest = inside
    return Place({'"': inside})


def _integer(_: Mapping[str, Any], after: Place) -> Place:
    further = _digits(_DIGITS - 1, after)
    unsigned = {"0": after} | dict.fromkeys(_NUMERALS[1:], further)
    return Place({**unsigned, "-": Place(unsigned)})


def _number(schema: Mapping[str, Any], after: Place) -> Place:
    fraction = Place(dict.fromkeys(_NUMERALS, _digits(_DIGITS - 1, after)))
    return _integer(schema, Place({**after.edges, ".": fraction}))


def _digits(most: int, after: Place) -> Place:
    """Up to so many digits, then what follows."""
    place = after
    for _ in range(most):
        place = Place({**after.edges, **dict.fromkeys(_NUMERALS, place)})
    return place


def _boolean(_: Mapping[str, Any], after: Place) -> Place:
    return _one_of(["true", "false"], after)


_KINDS: dict[str, Callable[[Mapping[str, Any], Place], Place]] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
}
