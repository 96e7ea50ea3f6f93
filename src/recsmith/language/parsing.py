"""Free text → lists, choices, numbers and structured values. Tolerant about form, strict about content, and it says what was wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from recsmith.errors import RecsmithError

Model = TypeVar("Model", bound=BaseModel)
Form = Literal["json", "numbered", "bullets", "lines", "commas", "none"]

_THOUGHT = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", flags=re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(r"```[a-zA-Z0-9]*\s*\n?(.*?)(?:```|\Z)", flags=re.DOTALL)
_NUMBERED = re.compile(r"^\s*(?:\*\*)?[\[(]?(\d{1,3})[\])]?\s*[.):\]-]\s*(.+?)\s*$")
_NUMBERED_BRACKET = re.compile(r"^\s*\[(\d{1,3})\]\s*(.+?)\s*$")
_BULLET = re.compile(r"^\s*[-*•–]\s+(.+?)\s*$")
_INTEGER = re.compile(r"\d+")
_NUMBER = re.compile(r"-?\d+(?:[.,]\d+)?")
_QUOTES = "\"'“”„«»‚‘’`*_ "
_JSON_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')


class FormatError(RecsmithError):
    """An answer that has not the form that was asked for."""


@dataclass(frozen=True)
class ParsedList:
    """Entries of a list, best first."""

    entries: list[str]
    form: Form
    """How they were written; none: nothing that looks like a list."""
    cut: bool = False
    """Whether the list breaks off in the middle (its last entry is left out)."""


def parse_list(answer: str, *, most: int | None = None) -> ParsedList:
    """The entries of a list in an answer, at most `most`.

    Read are a JSON array (also one that breaks off, or inside an object), a numbered or bulleted list, lines, or one line with commas.
    Thoughts, code fences, bold type and quotation marks are taken off; remarks behind a dash stay, for grounding to judge.
    """
    text = _unwrapped(answer)
    parsed = _from_json(text) or _from_lines(text)
    entries = [entry for entry in (_clean(entry) for entry in parsed.entries) if entry]
    return ParsedList(entries if most is None else entries[:most], parsed.form if entries else "none", parsed.cut)


def parse_order(answer: str, count: int) -> list[int]:
    """Numbers 1 … count in order of appearance, each once, as positions from 0; others are ignored.

    For answers that are nothing but numbers ("3, 1, 2", "[3] > [1]", a JSON array); raises `FormatError` where there are none.
    """
    order = list(dict.fromkeys(number - 1 for number in parsed_numbers(answer) if 1 <= number <= count))
    if not order:
        raise FormatError(f"the answer names none of the numbers 1 to {count}: {answer[:80]!r}")
    return order


def parsed_numbers(answer: str) -> list[int]:
    """All whole numbers of an answer, in order of appearance."""
    return [int(number) for number in _INTEGER.findall(_unwrapped(answer)) if len(number) < 10]


def is_only_numbers(answer: str) -> bool:
    """Whether an answer consists of numbers and signs between them."""
    text = _unwrapped(answer)
    return bool(_INTEGER.search(text)) and not re.search(r"[^\W\d_]{2,}", text)


def parse_choice(answer: str, choices: Sequence[str]) -> int:
    """Position of the one choice that the answer names; raises `FormatError` when it names none, or several and none at its beginning."""
    text = _unwrapped(answer).strip(_QUOTES + ".:()[]").casefold()
    exact = [place for place, choice in enumerate(choices) if text == choice.casefold()]
    begins = [place for place, choice in enumerate(choices) if re.match(rf"{re.escape(choice.casefold())}\b", text)]
    named = [place for place, choice in enumerate(choices) if re.search(rf"\b{re.escape(choice.casefold())}\b", text)]
    for found in (exact, begins, named):
        if len(found) == 1:
            return found[0]
    raise FormatError(f"the answer {answer[:80]!r} names {'several' if named else 'none'} of the choices {', '.join(map(repr, choices))}")


def parse_number(answer: str, *, low: float, high: float) -> float:
    """The first number of the answer, if it lies in [low, high]; raises `FormatError` otherwise."""
    text = _unwrapped(answer)
    match = _NUMBER.search(text)
    if match is None:
        raise FormatError(f"the answer holds no number: {answer[:80]!r}")
    value = float(match.group().replace(",", "."))
    if not low <= value <= high:
        raise FormatError(f"the answer's number {value:g} is outside {low:g} to {high:g}")
    return value


def parse_structured(answer: str, model: type[Model]) -> Model:
    """The answer as an instance of `model`: the first JSON object in it that fits; raises `FormatError` saying what does not."""
    text = _unwrapped(answer)
    reason = "it holds no JSON object"
    for value in _json_values(text, "{"):
        try:
            return model.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            reason = f"`{'.'.join(map(str, first['loc']))}`: {first['msg'].lower()}"
    raise FormatError(f"the answer does not fit {model.__name__}: {reason}: {answer[:80]!r}")


# ---- inside ----


def _unwrapped(answer: str) -> str:
    text = _THOUGHT.sub("", answer)
    fenced = _FENCE.search(text)
    return (fenced.group(1) if fenced and fenced.group(1).strip() else text).strip()


def _from_json(text: str) -> ParsedList | None:
    for value in _json_values(text, "[{"):
        entries = _texts_in(value)
        if entries:
            return ParsedList(entries, "json")
    start = re.search(r"\[\s*\"", text)
    if start is None or "]" in text[start.end() :]:
        return None
    return ParsedList([json.loads(f'"{entry}"', strict=False) for entry in _JSON_STRING.findall(text[start.start() :])], "json", cut=True)


def _texts_in(value: Any) -> list[str]:
    """Texts of the first list in a JSON value: of strings, or objects with a title."""
    if isinstance(value, list):
        return [text for entry in value if (text := _entry_text(entry))]
    if isinstance(value, dict):
        lists = [entry for entry in value.values() if isinstance(entry, list)]
        return next((texts for entry in lists if (texts := _texts_in(entry))), [])
    return []


def _entry_text(entry: Any) -> str:
    if isinstance(entry, dict):
        named = [entry[key] for key in ("title", "name", "item", "movie", "product", "id") if key in entry]
        entry = next(iter(named or entry.values()), "")
    return entry if isinstance(entry, str) else ""


def _json_values(text: str, openings: str) -> list[Any]:
    """Every JSON value in the text that starts with one of these signs, from the left, none inside another.

    What is nested too deep to be read ends the search: it would have to be tried again at each of its levels.
    """
    decoder, found, place = json.JSONDecoder(strict=False), [], 0
    while place < len(text):
        if text[place] not in openings:
            place += 1
            continue
        try:
            value, place = decoder.raw_decode(text, place)
        except RecursionError:
            break
        except ValueError:
            place += 1
        else:
            found.append(value)
    return found


def _from_lines(text: str) -> ParsedList:
    lines = [line for line in text.splitlines() if line.strip()]
    numbered = [match.groups() for line in lines if (match := _NUMBERED.match(line) or _NUMBERED_BRACKET.match(line))]
    if numbered and int(numbered[0][0]) <= 1:
        return ParsedList([_marked(entry) for _, entry in numbered], "numbered")
    bullets = [match.group(1) for line in lines if (match := _BULLET.match(line))]
    if bullets:
        return ParsedList([_marked(entry) for entry in bullets], "bullets")
    if len(lines) == 1 and "," in lines[0]:
        return ParsedList(lines[0].split(","), "commas")
    plain = [line for line in lines if not line.rstrip().endswith(":")]
    return ParsedList(plain, "lines" if plain else "none")


def _marked(entry: str) -> str:
    """What stands in bold type or quotation marks at the beginning of an entry, else the whole entry."""
    marked = re.match(r"^\*\*(.+?)\*\*", entry) or re.match(r"^[\"“](.+?)[\"”]", entry)
    return marked.group(1) if marked else entry


def _clean(entry: str) -> str:
    return entry.strip().strip(_QUOTES).rstrip(",;").strip(_QUOTES)
