"""`compile_prompt`: a template and its values → a prompt that fits, with a record of what was left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from recsmith.errors import UserError, suggestion
from recsmith.language.completion import Message, Prompt, Sampling
from recsmith.language.counting import CountTokens, estimate_tokens, prompt_tokens
from recsmith.language.template import Section, Template, places
from recsmith.language.untrusted import DATA_RULE, as_data

Value = str | int | float | Sequence[str] | None
Summarise = Callable[[Sequence[str]], str]
"""Texts of a list that found no room → one line in their place."""


@dataclass(frozen=True)
class Compiled:
    """A prompt and how it came about."""

    prompt: Prompt
    tokens: int
    """Estimated (or counted) tokens of the prompt."""
    kept: dict[str, list[int]]
    """List field → positions of its entries that stand in the prompt, ascending."""
    left_out: list[str]
    """Sections that are not in the prompt."""
    template: str
    """Name, version and hash of the template."""


def compile_prompt(
    template: Template,
    values: Mapping[str, Value],
    *,
    max_tokens: int | None = None,
    count: CountTokens = estimate_tokens,
    summarise: Mapping[str, Summarise] | None = None,
    sampling: Sampling | None = None,
    choices: tuple[str, ...] = (),
    schema: Mapping[str, Any] | None = None,
) -> Compiled:
    """Fill the template in. `max_tokens` limits the prompt; the answer's length comes from the sampling.

    When it does not fit, sections are shortened in order of priority, least first: lists lose entries at the end that the section
    does not keep (all but one), then whole sections go that are not required. `summarise` names list fields (`items`) of which one line
    may stand in the place of the entries that they have lost. Raises `UserError` for a missing, unknown or wrongly typed value, and when
    even the shortest form does not fit.
    """
    checked = _checked(template, values)
    draft = _Draft(template, checked, count, summarise or {}, sampling or template.sampling, choices, schema)
    if max_tokens is not None:
        _shorten(draft, max_tokens)
    prompt = draft.prompt()
    kept = {name: draft.kept_positions(name) for name, kind in template.fields.items() if kind in ("items", "numbered")}
    left_out = [section.name for section in template.section if not draft.stands(section)]
    return Compiled(prompt, draft.tokens(), kept, left_out, f"{template.name} v{template.version} ({template.hash})")


@dataclass
class _Draft:
    """A prompt under construction."""

    template: Template
    values: dict[str, Any]
    count: CountTokens
    summarise: Mapping[str, Summarise]
    sampling: Sampling
    choices: tuple[str, ...]
    schema: Mapping[str, Any] | None
    lengths: dict[str, int] = field(default_factory=dict)
    """List field → how many entries may stand; all where absent."""
    dropped: set[str] = field(default_factory=set)

    def stands(self, section: Section) -> bool:
        if section.name in self.dropped:
            return False
        return section.required or all(_given(self.values[name]) for name in places(section.text))

    def kept_positions(self, name: str) -> list[int]:
        size = len(self.values[name] or ())
        length = min(self.lengths.get(name, size), size)
        section = next((section for section in self.template.section if name in places(section.text)), None)
        if section is None or not self.stands(section):
            return []
        return list(range(length)) if section.keep != "last" else list(range(size - length, size))

    def messages(self) -> tuple[Message, ...]:
        roles: dict[str, list[str]] = {"system": [], "user": []}
        for section in self.template.section:
            if self.stands(section):
                roles[section.role].append(section.text.format_map({name: self.shown(name) for name in places(section.text)}))
        if any(kind != "number" for kind in self.template.fields.values()):
            roles["system"].append(DATA_RULE)
        parts = {role: "\n\n".join(texts) for role, texts in roles.items() if texts}
        return tuple(Message(role, text) for role, text in parts.items())  # type: ignore[arg-type]

    def shown(self, name: str) -> str:
        value, kind = self.values[name], self.template.fields[name]
        longest = self.template.longest_text
        if kind == "number":
            return "" if value is None else f"{value:g}"
        if kind == "text":
            return as_data(value or "", longest=longest)
        positions = self.kept_positions(name)
        lines = [as_data(value[position], longest=longest) for position in positions]
        mark = (lambda place: f"{place}. ") if kind == "numbered" else (lambda _: "- ")
        shown = [f"{mark(place)}{line}" for place, line in enumerate(lines, start=1)]
        return "\n".join([*self._summary(name, positions), *shown])

    def _summary(self, name: str, positions: list[int]) -> list[str]:
        lost = [text for place, text in enumerate(self.values[name]) if place not in set(positions)]
        if not lost or name not in self.summarise or self.template.fields[name] == "numbered":
            return []
        return [f"- before these, {len(lost)} more: {as_data(self.summarise[name](lost), longest=self.template.longest_text)}"]

    def prompt(self) -> Prompt:
        return Prompt(self.messages(), self.sampling, self.choices, self.schema)

    def tokens(self) -> int:
        return prompt_tokens(self.prompt(), self.count)


def _shorten(draft: _Draft, limit: int) -> None:
    shortest = sorted(draft.template.section, key=lambda section: section.priority)
    for section in (section for section in shortest if section.keep != "all" and draft.stands(section)):
        if draft.tokens() <= limit:
            return
        _shorten_list(draft, next(name for name in places(section.text) if draft.template.fields[name] in ("items", "numbered")), limit)
    for section in (section for section in shortest if not section.required and draft.stands(section)):
        if draft.tokens() <= limit:
            return
        draft.dropped.add(section.name)
    if draft.tokens() > limit:
        raise UserError(
            f"the prompt `{draft.template.name}` needs {draft.tokens():,} tokens at its shortest, {limit:,} are allowed; "
            "raise the limit, give fewer candidates or shorter item texts"
        )


def _shorten_list(draft: _Draft, name: str, limit: int) -> None:
    """The most entries (at least one) with which the prompt fits, by bisection."""
    low, high = 1, len(draft.values[name] or ())
    while low < high:
        middle = (low + high + 1) // 2
        draft.lengths[name] = middle
        if draft.tokens() <= limit:
            low = middle
        else:
            high = middle - 1
    draft.lengths[name] = low


def _checked(template: Template, values: Mapping[str, Value]) -> dict[str, Any]:
    for name in values:
        if name not in template.fields:
            raise UserError(f"prompt template `{template.name}` has no field `{name}`; {suggestion(name, template.fields)}")
    return {name: _typed(template, name, kind, values.get(name)) for name, kind in template.fields.items()}


def _typed(template: Template, name: str, kind: str, value: Value) -> Any:
    needed = any(section.required and name in places(section.text) for section in template.section)
    if value is None:
        if needed:
            raise UserError(f"prompt template `{template.name}` needs a value for `{name}` ({kind}); give one")
        return None
    fits = {
        "text": isinstance(value, str),
        "number": isinstance(value, int | float) and not isinstance(value, bool),
        "items": _is_list_of_texts(value),
        "numbered": _is_list_of_texts(value),
    }[kind]
    if not fits:
        raise UserError(f"prompt template `{template.name}`: field `{name}` is {value!r:.60}; allowed: {_WANTED[kind]}")
    if needed and not _given(value):
        raise UserError(f"prompt template `{template.name}`: field `{name}` is empty; it is needed for section texts that are required")
    return value


_WANTED = {"text": "a text", "number": "a number", "items": "a list of texts", "numbered": "a list of texts"}


def _is_list_of_texts(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(entry, str) for entry in value)


def _given(value: Any) -> bool:
    return value is not None and (not isinstance(value, str | list | tuple) or len(value) > 0)
