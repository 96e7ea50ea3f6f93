"""Language profiles: the model first writes down who somebody is, people can read and change it, then it ranks by that alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from recsmith.config import Config
from recsmith.language.asker import Asker
from recsmith.language.compiler import Value
from recsmith.language.embedded_profiles import BACKEND, template_profiles
from recsmith.language.rankers.case import GroundIn, RankCase, Ranked, Want, ground_equal, kept_where, unanswered
from recsmith.language.rankers.steps import ask_step, read_orders
from recsmith.language.shelf import Shelf
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

    `profiles` writes them, `rank_by` ranks by them (also by ones that a person has edited); `rank` does both. Without a language model
    `rank_offline` fills a template (`embedded_profiles`) and an encoder ranks by that alone.

    Deviations: ranks candidates where the paper predicts ratings; the paper's search for the best wording on validation data is
    `recsmith.language.prompt_search`.
    """

    Config: ClassVar[type[ProfileConfig]] = ProfileConfig
    wants: ClassVar[tuple[Want, ...]] = ()
    offline: ClassVar[str] = BACKEND

    def __init__(self, config: ProfileConfig, *, ground: GroundIn = ground_equal, templates: str | None = None) -> None:
        self.config = config
        self._ground = ground
        self._write = load_template(config.profile_template, folder=templates)
        self._rank = load_template(config.rank_template, folder=templates)
        self._shelf: Shelf | None = None

    def look_at(self, shelf: Shelf) -> None:
        """Take the kinds of items, of which profiles speak where there is no language model."""
        self._shelf = shelf

    def profiles(self, liked: Sequence[Sequence[str]], asker: Asker, *, disliked: Sequence[Sequence[str]] | None = None) -> list[str]:
        """One profile per person, "" where there is no answer."""
        return [(answer or "").strip() for answer in self._written(liked, asker, disliked)]

    def _written(self, liked: Sequence[Sequence[str]], asker: Asker, disliked: Sequence[Sequence[str]] | None = None) -> list[str | None]:
        others = disliked if disliked is not None else [()] * len(liked)
        values: list[dict[str, Value]] = [{"liked": list(yes), "disliked": list(no) or None} for yes, no in zip(liked, others, strict=True)]
        return ask_step(self._write, values, asker, max_tokens=self.config.max_tokens)

    def rank_by(self, profiles: Sequence[str], cases: Sequence[RankCase], asker: Asker) -> Ranked:
        """Orders by profiles alone; the histories are not looked at."""
        return self._ranked(profiles, cases, asker, failed=set())

    def rank(self, cases: Sequence[RankCase], asker: Asker) -> Ranked:
        """Two prompts per case."""
        written = self._written([case.history for case in cases], asker)
        return self._ranked([(text or "").strip() for text in written], cases, asker, failed=unanswered(written))

    def rank_offline(self, cases: Sequence[RankCase], by_likeness: Callable[[Sequence[RankCase]], Ranked]) -> Ranked:
        """Orders by the likeness of the candidates to the template's profile alone; the profiles stand in the notes."""
        profiles = template_profiles([case.history for case in cases], [self._kinds(case) for case in cases])
        told = [replace(case, history=(), request=profile if case.history else "") for case, profile in zip(cases, profiles, strict=True)]
        return replace(by_likeness(told), notes=profiles)

    def _kinds(self, case: RankCase) -> Sequence[Sequence[str]]:
        """Categories of each event; none where the case or the catalogue does not tell them."""
        if self._shelf is None or len(case.items) != len(case.history):
            return [()] * len(case.history)
        return [self._shelf.facts.categories[item] for item in case.items]

    def _ranked(self, profiles: Sequence[str], cases: Sequence[RankCase], asker: Asker, *, failed: set[int]) -> Ranked:
        """As `rank_by`; the cases `failed` keep the retriever's order."""
        values: list[dict[str, Value]] = [
            {"profile": profile or "nothing is known", "candidates": list(case.candidates)}
            for profile, case in zip(profiles, cases, strict=True)
        ]
        answers = ask_step(self._rank, values, asker, max_tokens=self.config.max_tokens)
        orders, reading = read_orders(answers, cases, self._ground)
        return kept_where(failed | unanswered(answers), orders, {**reading.figures(), "template": self._rank.hash}, profiles)
