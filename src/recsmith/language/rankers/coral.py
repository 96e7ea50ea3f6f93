"""CoRAL: a policy that learns which collaborative evidence to put into the prompt (Wu et al., 2024)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from recsmith.config import Config
from recsmith.errors import UserError
from recsmith.language.asker import Asker
from recsmith.language.policies import Choice, SoftmaxPolicy, advantages
from recsmith.language.rankers.case import GroundIn, RankCase, Ranked, Want, ground_equal, reciprocal_ranks
from recsmith.language.rankers.list_wise import ListWise, ListWiseConfig
from recsmith.language.shelf import Shelf
from recsmith.seeding import generator

_FEATURES = 7


class CoralConfig(Config):
    """How much evidence, and how the policy learns."""

    evidence: int = Field(6, ge=1)
    """Pieces of evidence that a prompt tells."""
    pool: int = Field(30, ge=2)
    """Pieces that the policy chooses from: those of the people who share most with the person."""
    shared: int = Field(3, ge=1)
    """Shared items that a piece of evidence names."""
    rounds: int = Field(3, ge=1)
    """Times that the policy chooses for every solved case and learns from what it brings."""
    template: str = "rank-with-knowledge"
    """Prompt template, with the fields of `list-wise` and `knowledge`."""
    max_tokens: int = Field(4000, ge=100)
    """Tokens of a prompt at most; older history goes first."""
    seed: int = 0
    """Seed of the draws."""


@dataclass(frozen=True)
class Evidence:
    """Somebody who took a candidate, and what they have in common with the person."""

    person: int
    place: int
    """Position of the candidate."""
    shared: list[int]
    """Items that both took, in the order of the person's history."""
    features: np.ndarray
    """float64 `[feature]`, without what depends on the evidence chosen before."""


class Coral:
    """CoRAL: collaborative retrieval-augmented large language models improve long-tail recommendation (Wu, Chang, Yu et al., KDD 2024,
    arXiv:2403.06447).

    Evidence is a user–item pair of training: somebody who took a candidate and shares items with the person. A policy chooses pieces one
    after the other, each by how much is shared, how rare the candidate and long the history is, where the retriever has the candidate,
    and whether it is told of already; its reward is the reciprocal rank that the whole evidence gains over none. It starts undecided, so
    without `learn` evidence comes in the order of what is shared.

    Deviations: a linear softmax policy with clipped policy gradients, where the paper trains an actor and a critic; ranks candidates, where
    the paper asks for likes of one item; prompts say what people took, not how they rated it.
    """

    Config: ClassVar[type[CoralConfig]] = CoralConfig
    wants: ClassVar[tuple[Want, ...]] = ("people",)

    def __init__(self, config: CoralConfig, *, ground: GroundIn = ground_equal, templates: str | None = None) -> None:
        self.config = config
        inner = ListWiseConfig(template=config.template, max_tokens=config.max_tokens)
        self._inner = ListWise(inner, ground=ground, templates=templates)
        self._policy = SoftmaxPolicy(_FEATURES)
        self._shelf: Shelf | None = None

    def look_at(self, shelf: Shelf) -> None:
        """Take the training histories."""
        self._shelf = shelf

    def rank(self, cases: Sequence[RankCase], asker: Asker) -> Ranked:
        """One prompt per case."""
        chosen = [self._choose(self.pool(case), None)[0] for case in cases]
        ranked = self._inner.rank([self._told(case, one) for case, one in zip(cases, chosen, strict=True)], asker)
        return Ranked(ranked.orders, {**ranked.figures, "evidence": sum(map(len, chosen)) / max(1, len(cases))})

    def learn(self, cases: Sequence[RankCase], right: Sequence[int], asker: Asker) -> dict[str, Any]:
        """Choose evidence for solved cases, and follow what helps. Somebody's own training row is never evidence for them."""
        self._policy = SoftmaxPolicy(_FEATURES)
        pools = [self.pool(case, but=[*case.items, case.candidate_items[answer]]) for case, answer in zip(cases, right, strict=True)]
        plain = reciprocal_ranks(self._inner.rank(cases, asker).orders, right)
        random, gains = generator(self.config.seed, "evidence"), [0.0]
        for _ in range(self.config.rounds):
            drawn = [self._choose(pool, random) for pool in pools]
            told = [self._told(case, chosen) for case, (chosen, _) in zip(cases, drawn, strict=True)]
            reached = reciprocal_ranks(self._inner.rank(told, asker).orders, right)
            gains = [after - before for after, before in zip(reached, plain, strict=True)]
            steps = [
                Choice(options, taken, chance, gain)
                for gain, (_, path) in zip(advantages(gains), drawn, strict=True)
                for options, taken, chance in path
            ]
            self._policy.improve(steps)
        return {"score without evidence": float(np.mean(plain)), "gain of drawn evidence": float(np.mean(gains))}

    def learned(self) -> str:
        """The weights of the policy as JSON."""
        return json.dumps(self._policy.weights.tolist())

    def restore(self, learned: str) -> None:
        """Take the weights back."""
        self._policy.weights = np.array(json.loads(learned), dtype=np.float64)

    def pool(self, case: RankCase, *, but: Sequence[int] = ()) -> list[Evidence]:
        """Evidence for the candidates, by falling number of shared items; without people whose history ends with the items `but`."""
        if self._shelf is None or len(case.candidate_items) != len(case.candidates):
            raise UserError("the ranker `coral` looks people up; call look_at(shelf) first and give cases with item numbers")
        people, takers, mine = self._shelf.people, self._shelf.takers, dict.fromkeys(case.items)
        found = []
        for place, item in enumerate(case.candidate_items):
            for person in takers[item].tolist():
                row = people.row(person)
                theirs = set(row.tolist())
                shared = [one for one in mine if one in theirs]
                if not shared or (but and row[-len(but) :].tolist() == list(but)):
                    continue
                jaccard = len(shared) / len(theirs | set(mine))
                numbers = [np.log1p(len(shared)), jaccard, np.log1p(len(theirs)), np.log1p(len(takers[item])), 1 / (1 + place)]
                found.append(Evidence(person, place, shared, np.array(numbers, dtype=np.float64)))
        return sorted(found, key=lambda one: (-len(one.shared), -one.features[1], one.place, one.person))[: self.config.pool]

    def _choose(
        self, pool: list[Evidence], random: np.random.Generator | None
    ) -> tuple[list[Evidence], list[tuple[np.ndarray, int, float]]]:
        """Pieces of evidence one after the other (the best ones, or drawn), and the path: options, which was taken, how probable."""
        left = list(pool)
        chosen: list[Evidence] = []
        path: list[tuple[np.ndarray, int, float]] = []
        while left and len(chosen) < self.config.evidence:
            places, people = [one.place for one in chosen], {one.person for one in chosen}
            options = np.stack([[*one.features, places.count(one.place), float(one.person in people)] for one in left])
            if random is None:
                taken, chance = self._policy.best(options), 1.0
            else:
                taken, chance = self._policy.draw(options, random)
            path.append((options, taken, chance))
            chosen.append(left.pop(taken))
        return chosen, path

    def _told(self, case: RankCase, chosen: Sequence[Evidence]) -> RankCase:
        assert self._shelf is not None
        texts, most = self._shelf.texts, self.config.shared
        lines = [
            f"somebody who also took {'; '.join(texts[item] for item in one.shared[-most:])} took {case.candidates[one.place]}"
            for one in chosen
        ]
        return replace(case, knowledge=[*lines, *case.knowledge])
