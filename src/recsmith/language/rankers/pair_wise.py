"""Pair-wise ranking: two candidates at a time, in both orders (Qin et al., 2024; Dai et al., 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import ClassVar, Literal

from pydantic import Field

from recsmith.config import Config
from recsmith.language.asker import Asker
from recsmith.language.compiler import compile_prompt
from recsmith.language.completion import Prompt
from recsmith.language.parsing import FormatError, parse_choice
from recsmith.language.rankers.case import GroundIn, RankCase, Ranked, by_score, ground_equal, kept_where, none_answered
from recsmith.language.template import load_template

_LETTERS = ("A", "B")


class PairWiseConfig(Config):
    """How pairs are compared and put together."""

    template: str = "rank-pair"
    """Prompt template with the fields history, first, second."""
    scheme: Literal["all-pairs", "sliding"] = "sliding"
    """all-pairs: every pair, ranked by wins; sliding: passes from the end that let the better one of neighbours move up."""
    passes: int = Field(10, ge=1)
    """sliding: passes, which settle as many first places."""
    max_tokens: int = Field(2000, ge=100)
    """Tokens of a prompt at most; older history goes first."""


class PairWise:
    """Pairwise ranking prompting (Qin, Jagerman, Hui et al., "Large language models are effective text rankers with pairwise ranking
    prompting", NAACL findings 2024).

    Each pair is asked in both orders. Where the two answers contradict each other (the figure `inconsistent`: position bias), or one cannot
    be read or is missing, the pair counts as equal: half a win each, and sliding leaves it as it is. n candidates cost n (n - 1) prompts
    with all-pairs, about 2 n per pass with sliding.

    Deviations: histories in the place of queries, wording of our own.
    """

    Config: ClassVar[type[PairWiseConfig]] = PairWiseConfig

    def __init__(self, config: PairWiseConfig, *, ground: GroundIn = ground_equal, templates: str | None = None) -> None:
        self.config = config
        self._template = load_template(config.template, folder=templates)
        self._pairs = self._inconsistent = self._unread = 0
        self._answers: list[list[str | None]] = []

    def rank(self, cases: Sequence[RankCase], asker: Asker) -> Ranked:
        """Orders by all pairs or by sliding."""
        self._pairs = self._inconsistent = self._unread = 0
        self._answers = [[] for _ in cases]
        orders = self._all_pairs(cases, asker) if self.config.scheme == "all-pairs" else self._sliding(cases, asker)
        pairs = max(1, self._pairs)
        figures = {"pairs": self._pairs, "inconsistent": self._inconsistent / pairs, "format error": self._unread / (2 * pairs)}
        return kept_where(none_answered(self._answers), orders, {**figures, "template": self._template.hash})

    def _all_pairs(self, cases: Sequence[RankCase], asker: Asker) -> list[list[int]]:
        pairs = [(number, one, other) for number, case in enumerate(cases) for one, other in combinations(range(len(case.candidates)), 2)]
        wins = [[0.0] * len(case.candidates) for case in cases]
        for (number, one, other), value in zip(pairs, self._compare(cases, pairs, asker), strict=True):
            wins[number][one] += value
            wins[number][other] += 1 - value
        return [by_score(row) for row in wins]

    def _sliding(self, cases: Sequence[RankCase], asker: Asker) -> list[list[int]]:
        orders = [list(range(len(case.candidates))) for case in cases]
        longest = max((len(order) for order in orders), default=0)
        for done in range(min(self.config.passes, longest - 1)):
            for place in range(longest - 1, done, -1):
                here = [number for number, order in enumerate(orders) if place < len(order)]
                pairs = [(number, orders[number][place - 1], orders[number][place]) for number in here]
                for number, value in zip(here, self._compare(cases, pairs, asker), strict=True):
                    if value < 0.5:
                        order = orders[number]
                        order[place - 1], order[place] = order[place], order[place - 1]
        return orders

    def _compare(self, cases: Sequence[RankCase], pairs: Sequence[tuple[int, int, int]], asker: Asker) -> list[float]:
        """1 where the first of a pair wins, 0 where the second does, .5 where it is not clear."""
        asked = [shown for number, one, other in pairs for shown in ((number, one, other), (number, other, one))]
        answers = asker.ask([self._prompt(cases[number], first, second, asker) for number, first, second in asked])
        for (number, _, _), answer in zip(asked, answers, strict=True):
            self._answers[number].append(answer)
        won = [self._first_wins(answer) for answer in answers]
        values = []
        for straight, turned in zip(won[::2], won[1::2], strict=True):
            clear = straight is not None and turned is not None and straight != turned
            self._unread += (straight is None) + (turned is None)
            self._inconsistent += straight is not None and straight == turned
            values.append(float(bool(straight)) if clear else 0.5)
        self._pairs += len(pairs)
        return values

    def _prompt(self, case: RankCase, first: int, second: int, asker: Asker) -> Prompt:
        values = {
            "history": list(case.history),
            "first": case.candidates[first],
            "second": case.candidates[second],
            "request": case.request or None,
        }
        known = {name: value for name, value in values.items() if name in self._template.fields}
        limit = self.config.max_tokens
        return compile_prompt(self._template, known, max_tokens=limit, count=asker.count_tokens, choices=_LETTERS).prompt

    def _first_wins(self, answer: str | None) -> bool | None:
        try:
            return None if answer is None else parse_choice(answer, _LETTERS) == 0
        except FormatError:
            return None
