"""A loop that lets a language model improve the instruction it works by, judged on validation cases (RecPrompt: Liu et al., 2024)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from recsmith.errors import UserError
from recsmith.language.asker import Asker
from recsmith.language.compiler import Value, compile_prompt
from recsmith.language.rankers.case import RankCase, reciprocal_ranks
from recsmith.language.template import Template, load_template
from recsmith.language.untrusted import plain_line

_LONGEST = 2000
"""Signs of an instruction that a model wrote, at most."""
RankWith = Callable[[Template, Sequence[RankCase]], Sequence[Sequence[int]]]
"""A template, cases → orders of their candidates: the ranker whose instruction is improved."""


@dataclass(frozen=True)
class Trial:
    """One instruction and what it reached."""

    instruction: str
    score: float
    """Mean reciprocal rank of the right candidate on the validation cases."""


def improve_instruction(
    template: Template,
    cases: Sequence[RankCase],
    right: Sequence[int],
    rank_with: RankWith,
    writer: Asker,
    *,
    rounds: int = 5,
    failures: int = 5,
) -> tuple[Template, list[Trial]]:
    """The template with the best instruction found, and every trial (Liu, Yang, Du et al., "RecPrompt: a self-tuning prompting framework
    for news recommendation", CIKM 2024).

    In each round the writer sees the best instruction so far, its score and cases that it got wrong, and writes another; it stays when
    it scores higher on the `cases`, whose `right` candidates are known: use validation cases. The instruction is the first system section;
    everything else, the rule about quoted data above all, is out of the writer's reach. Deviations: wording of our own; the score alone
    is the monitor, the paper's topic measures are left out.
    """
    require_lessons(cases, right)
    ask_for = load_template("improve-prompt")
    best, orders = template, rank_with(template, cases)
    trials = [Trial(instruction_of(template), _score(orders, right))]
    top = trials[0].score
    for _ in range(rounds):
        values: dict[str, Value] = {
            "instruction": instruction_of(best),
            "score": round(top, 4),
            "failures": failures_of(cases, right, orders, failures),
        }
        answer = writer.ask([compile_prompt(ask_for, values, count=writer.count_tokens).prompt])[0]
        if not answer or not answer.strip():
            continue
        candidate = with_instruction(template, answer.strip())
        found = rank_with(candidate, cases)
        trials.append(Trial(answer.strip(), _score(found, right)))
        if trials[-1].score > top:
            best, orders, top = candidate, found, trials[-1].score
    return best, trials


def require_lessons(cases: Sequence[RankCase], right: Sequence[int]) -> None:
    """Raise `UserError` unless there are cases, and one right candidate for each."""
    if len(cases) != len(right) or not cases:
        raise UserError(f"{len(cases)} cases have {len(right)} right candidates; give one per case, and at least one case")


def with_instruction(template: Template, instruction: str) -> Template:
    """The template with another first system section, on one line and without what could be taken for the frame of a prompt, since a
    model wrote it that has read data; braces in it are plain signs."""
    place = _place(template)
    plain = plain_line(instruction, longest=_LONGEST).replace("{", "{{").replace("}", "}}")
    sections = [section.override(text=plain) if number == place else section for number, section in enumerate(template.section)]
    return template.override(section=[section.model_dump() for section in sections], version=template.version + 1)


def _place(template: Template) -> int:
    found = [number for number, section in enumerate(template.section) if section.role == "system"]
    if not found:
        raise UserError(f"prompt template `{template.name}` has no system section, so there is no instruction to improve")
    return found[0]


def instruction_of(template: Template) -> str:
    """The first system section, which is what may be improved."""
    return template.section[_place(template)].text.strip().replace("{{", "{").replace("}}", "}")


def _score(orders: Sequence[Sequence[int]], right: Sequence[int]) -> float:
    return sum(reciprocal_ranks(orders, right)) / len(right)


def failures_of(cases: Sequence[RankCase], right: Sequence[int], orders: Sequence[Sequence[int]], count: int) -> list[str]:
    """Up to `count` cases whose right candidate was not ranked first, a line each; "none" where there are none."""
    wrong = [
        f"{', '.join(case.history[-5:])} → {case.candidates[answer]} → {case.candidates[order[0]]}"
        for case, answer, order in zip(cases, right, orders, strict=True)
        if order[0] != answer
    ]
    return wrong[:count] or ["none"]
