"""RecPrompt: an instruction that a language model rewrites as long as a monitor sees it improve (Liu et al., 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from recsmith.config import Config
from recsmith.language.asker import Asker
from recsmith.language.compiler import compile_prompt
from recsmith.language.prompt_search import improve_instruction, instruction_of, require_lessons, with_instruction
from recsmith.language.rankers.case import GroundIn, RankCase, ground_equal
from recsmith.language.rankers.instructed import Instructed
from recsmith.language.template import Template, load_template


class RecPromptConfig(Config):
    """Where the loop starts, and how long it goes on."""

    template: str = "rank-list"
    """Prompt template, with the fields of `list-wise`; its first system section is what is rewritten."""
    initial: Literal["manual", "written"] = "manual"
    """manual: the template's own instruction; written: one that the language model writes for the task."""
    rounds: int = Field(5, ge=1)
    """Times that the instruction is rewritten."""
    failures: int = Field(5, ge=1)
    """Wrong cases that the writer sees each time."""
    max_tokens: int = Field(4000, ge=100)
    """Tokens of a prompt at most; older history goes first."""


class RecPrompt(Instructed):
    """RecPrompt: a self-tuning prompting framework for news recommendation (Liu, Yang, Du et al., CIKM 2024, arXiv:2312.10463).

    Recommender, prompt optimiser and monitor: in each round the optimiser sees the best instruction, its score and its failures, and
    writes another; the monitor (mean reciprocal rank on the solved cases) keeps the better one.

    Deviations: the paper's monitor also scores the topics that the model names for a reader; any items instead of news.
    """

    Config: ClassVar[type[RecPromptConfig]] = RecPromptConfig

    def __init__(self, config: RecPromptConfig, *, ground: GroundIn = ground_equal, templates: str | None = None) -> None:
        super().__init__(config.template, max_tokens=config.max_tokens, ground=ground, templates=templates)
        self.config = config

    def learn(self, cases: Sequence[RankCase], right: Sequence[int], asker: Asker) -> dict[str, Any]:
        """Run the loop on solved cases."""
        require_lessons(cases, right)
        start = self._given if self.config.initial == "manual" else self._written(asker)
        self._template, trials = improve_instruction(
            start,
            cases,
            right,
            lambda template, some: self.rank_with(template, some, asker),
            asker,
            rounds=self.config.rounds,
            failures=self.config.failures,
        )
        best = max(trial.score for trial in trials)
        return {"prompts tried": len(trials), "score of the first prompt": trials[0].score, "score of the best prompt": best}

    def _written(self, asker: Asker) -> Template:
        """The template with an instruction of the language model's own; its own where the answer is empty."""
        ask_for = load_template("prompt-initial")
        values = {"task": self._given.title, "form": instruction_of(self._given)}
        answer = (asker.ask([compile_prompt(ask_for, values, count=asker.count_tokens).prompt])[0] or "").strip()
        return with_instruction(self._given, answer) if answer else self._given
