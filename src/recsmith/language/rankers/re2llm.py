"""Re2LLM: hints that a language model writes about its own errors, and a policy that learns which hint helps whom (Wang et al., 2024)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from recsmith.config import Config
from recsmith.errors import UserError
from recsmith.language.asker import Asker
from recsmith.language.policies import Choice, SoftmaxPolicy, advantages
from recsmith.language.rankers.case import GroundIn, RankCase, Ranked, Want, ground_equal, kept_where, reciprocal_ranks, unanswered
from recsmith.language.rankers.steps import ask_step, read_orders
from recsmith.language.shelf import Shelf
from recsmith.language.template import load_template
from recsmith.seeding import generator


class Re2llmConfig(Config):
    """How many hints, and how the policy learns."""

    hints: int = Field(10, ge=1)
    """Hints that are kept at most: those that help most on the solved cases."""
    reflections: int = Field(20, ge=1)
    """Errors that the model is asked to reflect on."""
    rounds: int = Field(3, ge=1)
    """Times that the policy draws a hint for every solved case and learns from what it brings."""
    max_tokens: int = Field(4000, ge=100)
    """Tokens of a prompt at most; older history goes first."""
    seed: int = 0
    """Seed of the draws."""


class Re2llm:
    """Re2LLM: reflective reinforcement large language model for session-based recommendation (Wang, Du, Sun et al., 2024,
    arXiv:2403.16427).

    Reflective exploration: the model ranks solved cases, is shown what it put first and what was right, and writes a hint about its error.
    A hint is kept when it moves the right candidate of its own case up and stands not yet in the pool. Reinforced utilisation: a light
    policy, rewarded by the reciprocal rank a hint gains over no hint, learns from the session's vector which hint (or none) suits it.

    Deviations: a linear policy instead of a network with a critic; ranking without a hint is the baseline; vectors of an encoder of texts.
    """

    Config: ClassVar[type[Re2llmConfig]] = Re2llmConfig
    wants: ClassVar[tuple[Want, ...]] = ()

    def __init__(self, config: Re2llmConfig, *, ground: GroundIn = ground_equal, templates: str | None = None) -> None:
        self.config = config
        self._ground = ground
        self._rank, self._reflect = (load_template(name, folder=templates) for name in ("rank-with-hint", "write-hint"))
        self._hints: list[str] = []
        self._policy: SoftmaxPolicy | None = None
        self._shelf: Shelf | None = None

    def look_at(self, shelf: Shelf) -> None:
        """Take the shelf's encoder."""
        self._shelf = shelf

    def rank(self, cases: Sequence[RankCase], asker: Asker) -> Ranked:
        """One prompt per case, with the hint that the policy holds for best; without hints as long as nothing is learned."""
        chosen = [0] * len(cases)
        if self._policy is not None and self._hints:
            chosen = [self._policy.best(options) for options in self._options(cases)]
        hints = ["", *self._hints]
        ranked = self._orders(cases, [hints[one] for one in chosen], asker)
        hinted = sum(one > 0 for one in chosen) / max(1, len(cases))
        return Ranked(ranked.orders, {**ranked.figures, "hinted": hinted}, notes=[hints[one] for one in chosen])

    def learn(self, cases: Sequence[RankCase], right: Sequence[int], asker: Asker) -> dict[str, Any]:
        """Write hints about errors, keep those that help, and learn whom they help."""
        orders = self._orders(cases, [""] * len(cases), asker).orders
        plain = reciprocal_ranks(orders, right)
        wrong = [number for number, reward in enumerate(plain) if reward < 1][: self.config.reflections]
        gains = self._written(cases, right, orders, plain, wrong, asker)
        self._hints = sorted(gains, key=lambda hint: -gains[hint])[: self.config.hints]
        self._policy = None
        figures: dict[str, Any] = {"reflections": len(wrong), "hints": len(self._hints), "score without hints": float(np.mean(plain))}
        if self._hints:
            figures |= self._practise(cases, right, plain, asker)
        return figures

    def learned(self) -> str:
        """Hints and weights as JSON."""
        weights = [] if self._policy is None else self._policy.weights.tolist()
        return json.dumps({"hints": self._hints, "weights": weights}, ensure_ascii=False)

    def restore(self, learned: str) -> None:
        """Take hints and weights back."""
        state = json.loads(learned)
        self._hints, self._policy = state["hints"], None
        if state["weights"]:
            self._policy = SoftmaxPolicy(len(state["weights"]))
            self._policy.weights = np.array(state["weights"])

    def _written(
        self, cases: Sequence[RankCase], right: Sequence[int], orders: list[list[int]], plain: list[float], wrong: list[int], asker: Asker
    ) -> dict[str, float]:
        """Hints about wrong cases that help there, with the reciprocal rank that each gains."""
        values = [
            {
                "history": list(cases[number].history),
                "answered": [cases[number].candidates[place] for place in orders[number][:5]],
                "truth": cases[number].candidates[right[number]],
            }
            for number in wrong
        ]
        hints = [(answer or "").strip() for answer in ask_step(self._reflect, values, asker, max_tokens=self.config.max_tokens)]
        pairs = [(number, hint) for number, hint in zip(wrong, hints, strict=True) if hint]
        tried = self._orders([cases[number] for number, _ in pairs], [hint for _, hint in pairs], asker).orders
        rewards = reciprocal_ranks(tried, [right[number] for number, _ in pairs])
        gains: dict[str, float] = {}
        for (number, hint), reward in zip(pairs, rewards, strict=True):
            if reward > plain[number]:
                gains[hint] = max(gains.get(hint, 0.0), reward - plain[number])
        return gains

    def _practise(self, cases: Sequence[RankCase], right: Sequence[int], plain: list[float], asker: Asker) -> dict[str, Any]:
        options = self._options(cases)
        policy = self._policy = SoftmaxPolicy(options[0].shape[1])
        random, rewards = generator(self.config.seed, "hints"), [0.0]
        for _ in range(self.config.rounds):
            drawn = [policy.draw(one, random) for one in options]
            hints = [["", *self._hints][taken] for taken, _ in drawn]
            reached = reciprocal_ranks(self._orders(cases, hints, asker).orders, right)
            rewards = [after - before for after, before in zip(reached, plain, strict=True)]
            gains = advantages(rewards, centred=False)
            policy.improve([Choice(one, *draw, gain) for one, draw, gain in zip(options, drawn, gains, strict=True)])
        return {"gain of drawn hints": float(np.mean(rewards))}

    def _options(self, cases: Sequence[RankCase]) -> list[np.ndarray]:
        """Features of no hint and of each hint, per case: the session's vector in the columns of its own of each option; float64
        `[1 + hint, (1 + hint) · (1 + dim)]`."""
        if self._shelf is None:
            raise UserError("the ranker `re2llm` reads sessions and has no encoder; call look_at(shelf) first")
        vectors = np.asarray(self._shelf.encode([", ".join(case.history) for case in cases]), dtype=np.float64)
        sessions = np.concatenate([np.ones((len(cases), 1)), vectors], axis=1)
        return [np.kron(np.eye(1 + len(self._hints)), session) for session in sessions]

    def _orders(self, cases: Sequence[RankCase], hints: Sequence[str], asker: Asker) -> Ranked:
        values = [
            {"history": list(case.history), "hint": hint or None, "candidates": list(case.candidates)}
            for case, hint in zip(cases, hints, strict=True)
        ]
        answers = ask_step(self._rank, values, asker, max_tokens=self.config.max_tokens)
        orders, reading = read_orders(answers, cases, self._ground)
        return kept_where(unanswered(answers), orders, reading.figures())
