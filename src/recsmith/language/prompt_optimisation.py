"""Iterative prompt optimisation: errors → reasons → refined prompts → trial by a bandit (PO4ISR: Sun et al., 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log, sqrt

import numpy as np
from pydantic import Field

from recsmith.config import Config
from recsmith.language.asker import Asker
from recsmith.language.compiler import compile_prompt
from recsmith.language.prompt_search import RankWith, failures_of, instruction_of, require_lessons, with_instruction
from recsmith.language.rankers.case import RankCase, reciprocal_ranks
from recsmith.language.template import Template, load_template
from recsmith.seeding import generator


class OptimisationConfig(Config):
    """How long is searched, and how widely."""

    rounds: int = Field(2, ge=1)
    """Times that the best prompts are refined."""
    beam: int = Field(2, ge=1)
    """Prompts that are kept after each round."""
    refinements: int = Field(2, ge=1)
    """New prompts made of each kept one in a round; each is also said in other words."""
    failures: int = Field(4, ge=1)
    """Cases ranked wrongly that a reason is asked for."""
    batch: int = Field(4, ge=1)
    """Cases of one trial of a prompt."""
    trials: int = Field(8, ge=1)
    """Trials that a round hands out among its prompts, by upper confidence bound, after one for each."""
    exploration: float = Field(0.5, ge=0)
    """Weight of the confidence bound; 0 tries only what is best so far."""
    seed: int = 0
    """Seed of the batches."""


@dataclass
class Arm:
    """A prompt and what it has reached in its trials."""

    instruction: str
    rewards: list[float] = field(default_factory=list)
    """Reciprocal rank of the right candidate in each case tried."""

    @property
    def mean(self) -> float:
        """Mean reward; 0 before the first trial."""
        return float(np.mean(self.rewards)) if self.rewards else 0.0


def optimise_prompt(
    template: Template, cases: Sequence[RankCase], right: Sequence[int], rank_with: RankWith, writer: Asker, config: OptimisationConfig
) -> tuple[Template, list[Arm]]:
    """The template with the best instruction, and all that were tried, the best first (Sun, Liu, Qiu et al., "Large language models for
    intent-driven session recommendations", SIGIR 2024, arXiv:2312.07552).

    A round takes each kept prompt, ranks a batch of cases with it, asks for the reasons of its failures, has it refined by them and said
    in other words, and lets all prompts compete for trials by UCB. Means over few trials mislead, so at the end the kept prompts and the
    first one are tried on every case and the best is taken (of equal ones the earlier). Cases must not be test cases.

    Deviations: the paper selects prompts across domains, here there is one domain; rewards are reciprocal ranks.
    """
    require_lessons(cases, right)
    search = _Search(template, cases, right, rank_with, writer, config)
    first = Arm(instruction_of(template))
    kept, everything = [first], [first]
    for _ in range(config.rounds):
        texts = dict.fromkeys(text for arm in kept for text in search.refined(arm))
        fresh = [Arm(text) for text in texts if text not in {arm.instruction for arm in everything}]
        everything += fresh
        kept = search.compete([*kept, *fresh])[: config.beam]
    finalists = [first, *(arm for arm in kept if arm is not first)]
    scores = [float(np.mean(search.rewards(arm, range(len(cases))))) for arm in finalists]
    best = finalists[int(np.argmax(scores))]
    for arm, score in zip(finalists, scores, strict=True):
        arm.rewards = [score] * len(cases)
    everything.sort(key=lambda arm: (arm is not best, -arm.mean))
    return (template if best is first else with_instruction(template, best.instruction)), everything


class _Search:
    def __init__(
        self,
        template: Template,
        cases: Sequence[RankCase],
        right: Sequence[int],
        rank_with: RankWith,
        writer: Asker,
        config: OptimisationConfig,
    ) -> None:
        self.template, self.cases, self.right, self.rank_with = template, list(cases), list(right), rank_with
        self.writer, self.config = writer, config
        self.random = generator(config.seed, "prompt optimisation")
        self.asks = {name: load_template(name) for name in ("prompt-reasons", "prompt-refine", "prompt-paraphrase")}

    def refined(self, arm: Arm) -> list[str]:
        """New instructions made of one; those that come back empty are left out."""
        found: list[str] = []
        for _ in range(self.config.refinements):
            chosen = self._batch()
            cases, right = [self.cases[one] for one in chosen], [self.right[one] for one in chosen]
            orders = self.rank_with(with_instruction(self.template, arm.instruction), cases)
            failures = failures_of(cases, right, orders, self.config.failures)
            reasons = self._ask("prompt-reasons", instruction=arm.instruction, failures=failures)
            better = self._ask("prompt-refine", instruction=arm.instruction, reasons=reasons) if reasons else ""
            other = self._ask("prompt-paraphrase", instruction=better) if better else ""
            found += [text for text in (better, other) if text]
        return found

    def compete(self, arms: list[Arm]) -> list[Arm]:
        """Give each arm a trial and then trials by upper confidence bound; the arms by falling mean reward."""
        for arm in (arm for arm in arms if not arm.rewards):
            arm.rewards += self.rewards(arm, self._batch())
        for trial in range(self.config.trials):
            bound = [
                arm.mean + self.config.exploration * sqrt(log(len(arms) + trial + 1) / (len(arm.rewards) / self.config.batch))
                for arm in arms
            ]
            arm = arms[int(np.argmax(bound))]
            arm.rewards += self.rewards(arm, self._batch())
        return sorted(arms, key=lambda arm: -arm.mean)

    def rewards(self, arm: Arm, numbers: Sequence[int]) -> list[float]:
        """Reciprocal ranks that an instruction reaches on these cases."""
        orders = self.rank_with(with_instruction(self.template, arm.instruction), [self.cases[one] for one in numbers])
        return reciprocal_ranks(orders, [self.right[one] for one in numbers])

    def _batch(self) -> list[int]:
        return np.sort(self.random.permutation(len(self.cases))[: self.config.batch]).tolist()

    def _ask(self, name: str, **values: str | list[str]) -> str:
        answer = self.writer.ask([compile_prompt(self.asks[name], values, count=self.writer.count_tokens).prompt])[0]
        return (answer or "").strip()
