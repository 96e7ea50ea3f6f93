"""What rankers of several steps share: fill a template for every case, ask, and read the orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recsmith.language.asker import Asker
from recsmith.language.compiler import Value, compile_prompt
from recsmith.language.rankers.case import GroundIn, RankCase, Reading, completed
from recsmith.language.template import Template


def ask_step(template: Template, values: Sequence[Mapping[str, Value]], asker: Asker, *, max_tokens: int) -> list[str | None]:
    """The answer to each filled template; None where there is none."""
    prompts = [compile_prompt(template, entry, max_tokens=max_tokens, count=asker.count_tokens).prompt for entry in values]
    return asker.ask(prompts)


def told(answers: Sequence[str | None]) -> list[str]:
    """Answers as values of a next step, with words in the place of those that are missing or empty."""
    return [(answer or "").strip() or "nothing is known" for answer in answers]


def read_orders(answers: Sequence[str | None], cases: Sequence[RankCase], ground: GroundIn) -> tuple[list[list[int]], Reading]:
    """The order of each case's candidates that an answer gives, the rest behind in the given order."""
    reading = Reading(ground)
    orders = [completed(reading.order(answer, case.candidates), len(case.candidates)) for answer, case in zip(answers, cases, strict=True)]
    return orders, reading
