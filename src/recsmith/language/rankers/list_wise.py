"""List-wise ranking: all candidates in one prompt, with the known cures for its biases (Hou et al., 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import partial
from math import factorial
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from recsmith.config import Config
from recsmith.errors import ConfigError
from recsmith.language.asker import Asker
from recsmith.language.compiler import Compiled, Summarise, compile_prompt
from recsmith.language.demonstrations import Demonstrations
from recsmith.language.rankers.case import (
    GroundIn,
    RankCase,
    Ranked,
    Reading,
    Want,
    by_score,
    completed,
    ground_equal,
    kept_where,
    none_answered,
)
from recsmith.language.rankers.older_history import FIELD, room_for, summaries
from recsmith.language.rankers.training_examples import TrainingExamples, recent
from recsmith.language.shelf import Shelf
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
    """Solved cases to show: the last steps of training of the people most similar by `encoder`, never one of the person asked about."""
    pool: int = Field(1000, ge=1)
    """People of the training part, drawn with `seed`, among whom the similar ones are looked for."""
    summarise_older: bool = False
    """Whether older history that finds no room in `max_tokens` is summed up in a line, which the model writes first: one more prompt for
    each person of whom something is left out. Give the model a large `max_history`, or nothing is."""
    max_tokens: int = Field(4000, ge=100)
    """Tokens of a prompt at most; older history goes first."""
    seed: int = 0
    """Seed of the permutations, and of the pool."""


class ListWise:
    """LLMs as zero-shot rankers (Hou, Zhang, Lin et al., "Large language models are zero-shot rankers for recommender systems", ECIR
    2024), and the list-wise prompts of Dai et al., "Uncovering ChatGPT's capabilities in recommender systems", RecSys 2023.

    Against the bias towards what is shown first: `permutations` (bootstrapping); the figure `position correlation` says how much is left
    of it (mean correlation of the place shown and the place answered, 0: none). Against blindness for order: `recency`, and demonstrations:
    those handed in, else last steps of similar people in training (after `look_at`), else the last step of the person's own history.
    Against a limited window: `summarise_older`.

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
        if config.demonstrations and "demonstrations" not in self._template.fields:
            raise ConfigError(
                f"the prompt template `{config.template}` has no field `demonstrations`, so {config.demonstrations} cannot be shown; "
                "set demonstrations = 0, or take rank-list"
            )
        self._summary = load_template("summarise-history", folder=templates)
        self._others: TrainingExamples | None = None
        self.wants: tuple[Want, ...] = ("people",) if config.demonstrations and demonstrations is None else ()

    def look_at(self, shelf: Shelf) -> None:
        """Take solved cases out of the training histories, where any are wanted."""
        config = self.config
        if self.wants and len(shelf.people):
            self._others = TrainingExamples(shelf, pool=config.pool, longest=self._template.longest_text, seed=config.seed)

    def worded(self, template: Template) -> ListWise:
        """The same ranker with other words."""
        other = copy(self)
        other._template = template
        return other

    def rank(self, cases: Sequence[RankCase], asker: Asker) -> Ranked:
        """One prompt per case and permutation, and before them one per case whose older history is summed up.

        A permutation whose answer is missing or cannot be read does not vote.
        """
        shown = [self._shown(case) for case in cases]
        told = [self._told(case, own) for case, own in zip(cases, self._examples(cases), strict=True)]
        older, figures = self._older(cases, told, asker) if self.config.summarise_older else ([None] * len(cases), {})
        left = iter(
            asker.ask(
                [
                    self._compiled(case, order, values, summarise, asker).prompt
                    for case, orders, values, summarise in zip(cases, shown, told, older, strict=True)
                    for order in orders
                ]
            )
        )
        answers = [[next(left) for _ in orders] for orders in shown]
        reading, correlations, found = Reading(self._ground), [], []
        for case, orders, own in zip(cases, shown, answers, strict=True):
            places = np.zeros(len(case.candidates))
            for order, answer in zip(orders, own, strict=True):
                named = reading.order(answer, [case.candidates[place] for place in order])
                if not named:
                    continue
                answered = completed(named, len(order))
                correlations.append(_correlation(answered))
                places[[order[place] for place in answered]] += np.arange(len(order))
            found.append(by_score((-places).tolist()))
        position = float(np.mean(correlations)) if correlations else float("nan")
        template = f"{self._template.name} {self._template.hash}"
        more = {**reading.figures(), "position correlation": position, "template": template, **figures}
        return kept_where(none_answered(answers), found, more)

    def _shown(self, case: RankCase) -> list[list[int]]:
        """The orders in which a case's candidates are shown, no two alike; drawn for the case, whatever others it is asked with, so that
        its answers are found again."""
        if self.config.permutations == 1:
            return [list(range(len(case.candidates)))]
        random = generator(self.config.seed, "permutations", *case.history, "", *case.candidates)
        wanted, found = min(self.config.permutations, factorial(len(case.candidates))), dict[tuple[int, ...], None]()
        while len(found) < wanted:
            found[tuple(random.permutation(len(case.candidates)).tolist())] = None
        return [list(order) for order in found]

    def _told(self, case: RankCase, examples: list[str] | None) -> dict[str, Any]:
        """Values of a case's prompts but for the candidates."""
        return {
            "history": list(case.history),
            "request": case.request or None,
            "recent": case.history[-1] if self.config.recency and case.history else None,
            "demonstrations": examples or None,
            "knowledge": list(case.knowledge) or None,
        }

    def _compiled(self, case: RankCase, order: list[int], told: dict[str, Any], summarise: Summarise | None, asker: Asker) -> Compiled:
        values = {**told, "candidates": [case.candidates[place] for place in order]}
        known = {name: value for name, value in values.items() if name in self._template.fields}
        shorter = None if summarise is None else {FIELD: summarise}
        return compile_prompt(self._template, known, max_tokens=self.config.max_tokens, count=asker.count_tokens, summarise=shorter)

    def _older(
        self, cases: Sequence[RankCase], told: Sequence[dict[str, Any]], asker: Asker
    ) -> tuple[list[Summarise | None], dict[str, float]]:
        """What stands for older history in each case's prompts, None where all of it finds room or no summary came."""
        room, lost = room_for(self._template), []
        for case, values in zip(cases, told, strict=True):
            kept = self._compiled(case, list(range(len(case.candidates))), values, room, asker).kept.get(FIELD, [])
            lost.append(list(case.history[: kept[0]]) if kept else [])
        written = summaries(lost, self._summary, asker, max_tokens=self.config.max_tokens)
        asked = sum(map(bool, lost))
        figures = {"histories summed up": asked / max(1, len(cases)), "summaries unread": (asked - sum(map(bool, written))) / max(1, asked)}
        return [partial(_said, text) if text else None for text in written], figures

    def _examples(self, cases: Sequence[RankCase]) -> list[list[str] | None]:
        count = self.config.demonstrations
        if count == 0:
            return [None] * len(cases)
        if self._demonstrations is not None:
            chosen = self._demonstrations.choose([recent(case.history) for case in cases], count)
            return [self._demonstrations.texts(row.tolist()) for row in chosen]
        if self._others is not None:
            return [*self._others.choose(cases, count)]
        return [_last_step(case.history) for case in cases]


def _said(text: str, lost: Sequence[str]) -> str:
    """The summary that was written, whatever is left out."""
    return text


def _last_step(history: Sequence[str]) -> list[str] | None:
    """The person's own history as a solved case: all but the last → the last."""
    return [f"{', '.join(history[:-1][-5:])} → {history[-1]}"] if len(history) > 1 else None


def _correlation(answered: list[int]) -> float:
    """Between the place shown and the place answered, -1 … 1; 0 for fewer than two candidates."""
    if len(answered) < 2:
        return 0.0
    return float(np.corrcoef(np.arange(len(answered)), answered)[0, 1])
