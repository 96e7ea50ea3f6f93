"""Ranking by the likelihood of titles: which candidate would the sentence go on with? (Sileo et al., 2022)"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from recsmith.config import Config
from recsmith.errors import UserError
from recsmith.language.asker import Asker
from recsmith.language.asking import run_here
from recsmith.language.completion import LikelihoodBackend
from recsmith.language.rankers.case import GroundIn, RankCase, Ranked, by_score, ground_equal
from recsmith.language.untrusted import plain_line


class LikelihoodConfig(Config):
    """The sentence and how its likelihood becomes a score."""

    sentence: str = "Movies like {history}, "
    """What stands before a candidate; `{history}` is the list of titles."""
    empty: str = "Movies like "
    """What stands before a candidate when nothing is known of the person; for `normalise = "prior"`."""
    normalise: Literal["none", "length", "prior"] = "none"
    """none: log p(title | sentence); length: per character of the title; prior: less log p(title | the empty sentence)."""
    max_history: int = Field(5, ge=1)
    """Titles in the sentence, the most recent ones."""


class Likelihood:
    """Zero-shot recommendation as language modelling (Sileo, Vossen & Raymaekers, ECIR 2022): nothing is generated, so nothing can be
    invented, but the backend must know likelihoods (a local model does).

    Deviations: scores of the candidate alone, not of the whole sentence (which differs by what all candidates share); `prior` and `length`
    are ours.
    """

    Config: ClassVar[type[LikelihoodConfig]] = LikelihoodConfig

    def __init__(self, config: LikelihoodConfig, *, ground: GroundIn = ground_equal, templates: str | None = None) -> None:
        self.config = config

    def rank(self, cases: Sequence[RankCase], asker: Asker) -> Ranked:
        """Raises `UserError` when the backend does not know likelihoods."""
        backend = asker.likelihood
        if backend is None:
            raise UserError(
                f"ranking by likelihood needs a backend that knows likelihoods; {asker.backend.name} does not: use a local model"
            )
        scores = run_here(self._all(cases, backend))
        return Ranked([by_score(row) for row in scores], {"judged texts": sum(map(len, scores)), "format error": 0.0})

    async def _all(self, cases: Sequence[RankCase], backend: LikelihoodBackend) -> list[list[float]]:
        return list(await asyncio.gather(*(self._one(case, backend) for case in cases)))

    async def _one(self, case: RankCase, backend: LikelihoodBackend) -> list[float]:
        texts = tuple(plain_line(candidate) for candidate in case.candidates)
        if not texts:
            return []
        history = ", ".join(plain_line(title) for title in case.history[-self.config.max_history :])
        scores = await backend.log_likelihood(self.config.sentence.format(history=history) if history else self.config.empty, texts)
        if self.config.normalise == "length":
            return [score / max(1, len(text)) for score, text in zip(scores, texts, strict=True)]
        if self.config.normalise == "prior":
            prior = await backend.log_likelihood(self.config.empty, texts)
            return [score - before for score, before in zip(scores, prior, strict=True)]
        return scores
