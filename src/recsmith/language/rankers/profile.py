"""Language profiles: the model first writes down who somebody is, people can read and change it, then it ranks by that alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from recsmith.config import Config
from recsmith.language.asker import Asker
from recsmith.language.compiler import compile_prompt
from recsmith.language.rankers.case import GroundIn, RankCase, Ranked, Reading, completed, ground_equal
from recsmith.language.template import load_template


class ProfileConfig(Config):
    """The two questions."""

    profile_template: str = "profile"
    """Prompt template that writes the profile; fields liked and disliked."""
    rank_template: str = "rank-from-profile"
    """Prompt template that ranks by it; fields profile and candidates."""
    max_tokens: int = Field(3000, ge=100)
    """Tokens of a prompt at most; older history goes first."""


class Profile:
    """Language-based user profiles for recommendation (Zhou, Dai & Joachims, 2024, arXiv:2402.15623).

    `profiles` writes them, `rank_by` ranks by them (also by ones that a person has edited); `rank` does both.

    Deviations: ranks candidates where the paper predicts ratings; the paper's search for the best wording on validation data is
    `recsmith.language.prompt_search`.
    """

    Config: ClassVar[type[ProfileConfig]] = ProfileConfig

    def __init__(self, config: ProfileConfig, *, ground: GroundIn = ground_equal, templates: str | None = None) -> None:
        self.config = config
        self._ground = ground
        self._write = load_template(config.profile_template, folder=templates)
        self._rank = load_template(config.rank_template, folder=templates)

    def profiles(self, liked: Sequence[Sequence[str]], asker: Asker, *, disliked: Sequence[Sequence[str]] | None = None) -> list[str]:
        """One profile per person, "" where there is no answer."""
        others = disliked if disliked is not None else [()] * len(liked)
        values = [{"liked": list(yes), "disliked": list(no) or None} for yes, no in zip(liked, others, strict=True)]
        limit = self.config.max_tokens
        prompts = [compile_prompt(self._write, entry, max_tokens=limit, count=asker.count_tokens).prompt for entry in values]
        return [(answer or "").strip() for answer in asker.ask(prompts)]

    def rank_by(self, profiles: Sequence[str], cases: Sequence[RankCase], asker: Asker) -> Ranked:
        """Orders by profiles alone; the histories are not looked at."""
        values = [
            {"profile": profile or "nothing is known", "candidates": list(case.candidates)}
            for profile, case in zip(profiles, cases, strict=True)
        ]
        limit = self.config.max_tokens
        prompts = [compile_prompt(self._rank, entry, max_tokens=limit, count=asker.count_tokens).prompt for entry in values]
        reading = Reading(self._ground)
        orders = [
            completed(reading.order(answer, case.candidates), len(case.candidates))
            for case, answer in zip(cases, asker.ask(prompts), strict=True)
        ]
        return Ranked(orders, {**reading.figures(), "template": self._rank.hash}, notes=list(profiles))

    def rank(self, cases: Sequence[RankCase], asker: Asker) -> Ranked:
        """Two prompts per case."""
        return self.rank_by(self.profiles([case.history for case in cases], asker), cases, asker)
