"""PO4ISR: intents inside a session, by a prompt that is optimised on its own errors (Sun et al., 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field

from recsmith.config import Config
from recsmith.language.asker import Asker
from recsmith.language.prompt_optimisation import OptimisationConfig, optimise_prompt
from recsmith.language.prompt_search import instruction_of
from recsmith.language.rankers.case import GroundIn, RankCase, ground_equal
from recsmith.language.rankers.instructed import Instructed


class Po4isrConfig(Config):
    """The prompt that is started from, and the search."""

    template: str = "po4isr"
    """Prompt template, with the fields of `list-wise`; its first system section is what is optimised."""
    search: OptimisationConfig = OptimisationConfig()
    """How prompts are refined and tried."""
    max_tokens: int = Field(4000, ge=100)
    """Tokens of a prompt at most; older history goes first."""


class Po4isr(Instructed):
    """Large language models for intent-driven session recommendations (Sun, Liu, Qiu et al., SIGIR 2024, arXiv:2312.07552).

    The first prompt asks to find combinations of items in the session, to infer the intent of each, to choose the one that leads, and to
    rank by it. `learn` is `recsmith.language.prompt_optimisation`; its deviations are named there. Without `learn` the first prompt ranks.
    """

    Config: ClassVar[type[Po4isrConfig]] = Po4isrConfig

    def __init__(self, config: Po4isrConfig, *, ground: GroundIn = ground_equal, templates: str | None = None) -> None:
        super().__init__(config.template, max_tokens=config.max_tokens, ground=ground, templates=templates)
        self.config = config

    def learn(self, cases: Sequence[RankCase], right: Sequence[int], asker: Asker) -> dict[str, Any]:
        """Search for the best instruction on solved cases."""
        found, arms = optimise_prompt(
            self._given, cases, right, lambda template, some: self.rank_with(template, some, asker), asker, self.config.search
        )
        self._template = found
        first = next(arm for arm in arms if arm.instruction == instruction_of(self._given))
        return {"prompts tried": len(arms), "score of the first prompt": first.mean, "score of the best prompt": arms[0].mean}
