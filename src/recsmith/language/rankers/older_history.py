"""What finds no room in a prompt, in a line of the language model's own."""

from __future__ import annotations

from collections.abc import Sequence

from recsmith.language.asker import Asker
from recsmith.language.compiler import Summarise, Value
from recsmith.language.rankers.steps import ask_step
from recsmith.language.template import Template

FIELD = "history"
"""List field of a ranker's template that is summed up."""


def room_for(template: Template) -> Summarise:
    """A line as long as a summary may be: how much room is to be left for one that is not written yet."""
    return lambda lost: ("summary " * template.longest_text)[: template.longest_text]


def summaries(older: Sequence[Sequence[str]], template: Template, asker: Asker, *, max_tokens: int) -> list[str]:
    """A line for each list of events that found no room, "" for an empty list (nothing is asked about it) and an empty answer."""
    asked = [place for place, texts in enumerate(older) if texts]
    values: list[dict[str, Value]] = [{FIELD: list(older[place])} for place in asked]
    found = [""] * len(older)
    for place, answer in zip(asked, ask_step(template, values, asker, max_tokens=max_tokens), strict=True):
        found[place] = (answer or "").strip()
    return found
