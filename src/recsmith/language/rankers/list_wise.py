"""List-wise ranking: all candidates in one prompt, with the known cures for its biases (Hou et al., 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import ClassVar

import numpy as np
from pydantic import Field

from recsmith.config import Config
from recsmith.language.asker import Asker
from recsmith.language.compiler import compile_prompt
from recsmith.language.completion import Prompt
from recsmith.language.demonstrations import Demonstrations
from recsmith.language.rankers.case import GroundIn, RankCase, Ranked, Reading, by_score, completed, ground_equal
from recsmith.language.template import Template, load_template
from recsmith.seeding import generator


class ListWiseConfig(Config):
    """How the question is put."""

    template: str = "rank-list"
    """Prompt template: its fields are history, candidates and any of request, recent, demonstrations, knowledge."""
    permutations: int = Field(1, ge=1)
    """Orders in which the candidates are shown, each a prompt of its own; the mean place decides. 1: the retriever's order alone."""
    recency: bool = False
    """Whether the prompt names the most recent item and asks to weigh it most."""
    demonstrations: int = Field(0, ge=0)
    """Solved cases to show, the most similar ones, where the ranker has any."""
    max_tokens: int = Field(4000, ge=100)
    """Tokens of a prompt at most; older history goes first."""
    seed: int = 0
    """Seed of the permutations."""


class ListWise:
    """LLMs as zero-shot rankers (Hou, Zhang, Lin et al., "Large language models are zero-shot rankers for recommender systems", ECIR
    2024), and the list-wise prompts of Dai et al., "Uncovering ChatGPT's capabilities in recommender systems", RecSys 2023.

    Against the bias towards what is shown first: `permutations` (bootstrapping); the figure `position correlation` says how much is left
    of it (mean correlation of the place shown and the place answered, 0: none). Against blindness for order: `recency`, and demonstrations
    (the last step of the person's own history is one where no others are handed in).

    The template `rank-diverse` asks for variety (Carraro & Bridge, 2024, arXiv:2401.11506), `rank-with-knowledge` also says what is known
    of the candidates (DOKE: Yao et al., 2023, arXiv:2311.10779).

    Deviations: wording of our own; with one permutation candidates stand in the retriever's order, not in a random one.
    """

    Config: ClassVar[type[ListWiseConfig]] = ListWiseConfig

    def __init__(
        self,
        config: ListWiseConfig,
        *,
        ground: GroundIn = ground_equal,
        demonstrations: Demonstrations | None = None,
        templates: str | None = None,
    ) -> None:
        self.config = config
        self._ground, self._demonstrations = ground, demonstrations
        self._template = load_template(config.template, folder=templates)

    def worded(self, template: Template) -> ListWise:
        """The same ranker with other words."""
        other = copy(self)
        other._template = template
        return other

    def rank(self, cases: Sequence[RankCase], asker: Asker) -> Ranked:
        """One prompt per case and permutation."""
        shown = [self._shown(number, case) for number, case in enumerate(cases)]
        examples = self._examples(cases)
        prompts = [
            self._prompt(case, order, own, asker) for case, orders, own in zip(cases, shown, examples, strict=True) for order in orders
        ]
        answers = iter(asker.ask(prompts))
        reading, correlations, found = Reading(self._ground), [], []
        for case, orders in zip(cases, shown, strict=True):
            places = np.zeros(len(case.candidates))
            for order in orders:
                named = reading.order(next(answers), [case.candidates[place] for place in order])
                answered = completed(named, len(order))
                correlations += [_correlation(answered)] if named else []
                places[[order[place] for place in answered]] += np.arange(len(order))
            found.append(by_score((-places).tolist()))
        position = float(np.mean(correlations)) if correlations else float("nan")
        return Ranked(
            found, {**reading.figures(), "position correlation": position, "template": f"{self._template.name} {self._template.hash}"}
        )

    def _shown(self, number: int, case: RankCase) -> list[list[int]]:
        """The orders in which a case's candidates are shown."""
        if self.config.permutations == 1:
            return [list(range(len(case.candidates)))]
        random = generator(self.config.seed, "permutations", number)
        return [random.permutation(len(case.candidates)).tolist() for _ in range(self.config.permutations)]

    def _prompt(self, case: RankCase, order: list[int], examples: list[str] | None, asker: Asker) -> Prompt:
        values = {
            "history": list(case.history),
            "candidates": [case.candidates[place] for place in order],
            "request": case.request or None,
            "recent": case.history[-1] if self.config.recency and case.history else None,
            "demonstrations": examples,
            "knowledge": list(case.knowledge) or None,
        }
        known = {name: value for name, value in values.items() if name in self._template.fields}
        return compile_prompt(self._template, known, max_tokens=self.config.max_tokens, count=asker.count_tokens).prompt

    def _examples(self, cases: Sequence[RankCase]) -> list[list[str] | None]:
        count = self.config.demonstrations
        if count == 0:
            return [None] * len(cases)
        if self._demonstrations is None:
            return [_last_step(case.history) for case in cases]
        chosen = self._demonstrations.choose([", ".join(case.history) for case in cases], count)
        return [self._demonstrations.texts(row.tolist()) for row in chosen]


def _last_step(history: Sequence[str]) -> list[str] | None:
    """The person's own history as a solved case: all but the last → the last."""
    return [f"{', '.join(history[:-1][-5:])} → {history[-1]}"] if len(history) > 1 else None


def _correlation(answered: list[int]) -> float:
    """Between the place shown and the place answered, -1 … 1; 0 for fewer than two candidates."""
    if len(answered) < 2:
        return 0.0
    return float(np.corrcoef(np.arange(len(answered)), answered)[0, 1])
