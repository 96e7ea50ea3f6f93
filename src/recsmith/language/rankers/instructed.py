"""What rankers share whose instruction is searched for: the list-wise question, with the instruction that was found."""

from __future__ import annotations

from collections.abc import Sequence

from recsmith.language.asker import Asker
from recsmith.language.prompt_search import instruction_of, with_instruction
from recsmith.language.rankers.case import GroundIn, RankCase, Ranked
from recsmith.language.rankers.list_wise import ListWise, ListWiseConfig
from recsmith.language.template import Template, load_template


class Instructed:
    """A list-wise ranker whose first system section can be replaced; before anything is learned it is that of the template."""

    def __init__(self, template: str, *, max_tokens: int, ground: GroundIn, templates: str | None) -> None:
        self._given = self._template = load_template(template, folder=templates)
        self._inner = ListWise(ListWiseConfig(template=template, max_tokens=max_tokens), ground=ground, templates=templates)

    def rank(self, cases: Sequence[RankCase], asker: Asker) -> Ranked:
        """One prompt per case."""
        return self._inner.worded(self._template).rank(cases, asker)

    def rank_with(self, template: Template, cases: Sequence[RankCase], asker: Asker) -> list[list[int]]:
        """Orders under another template."""
        return self._inner.worded(template).rank(cases, asker).orders

    def learned(self) -> str:
        """The instruction."""
        return instruction_of(self._template)

    def restore(self, learned: str) -> None:
        """Take an instruction back."""
        same = learned == instruction_of(self._given)
        self._template = self._given if same else with_instruction(self._given, learned)
