"""UniLLMRec: a language model that finds, ranks and mixes by itself, walking down a tree of the whole catalogue (Zhang et al., 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from pydantic import Field
from torch import Tensor

from recsmith.data.item_facts import ItemFacts
from recsmith.language.asker import Asker
from recsmith.language.compiler import Value
from recsmith.language.completion import Backend
from recsmith.language.item_tree import Branch, grow_tree
from recsmith.language.rankers.case import Reading, completed
from recsmith.language.rankers.steps import ask_step, told
from recsmith.language.template import load_template
from recsmith.models.language_ranker import LanguageRanker, LanguageRankerConfig, ground_in
from recsmith.nn.shortlist import best_outside

_MAX_TOKENS = 4000


class UnillmrecConfig(LanguageRankerConfig):
    """The walk, besides what every language ranker has."""

    retriever: str = "popularity"
    """Model that orders what the walk does not find, and fills up where it finds too little."""
    candidates: int = Field(20, ge=1)
    """Items that the walk looks for."""
    branches: int = Field(3, ge=1)
    """Branches that are chosen at a fork and walked best first; the others wait until these have led to too little."""
    picks: int = Field(8, ge=1)
    """Items that are chosen on a shelf."""
    leaf: int = Field(40, ge=2)
    """Items on a shelf at most, where anything tells them apart."""
    visits: int = Field(20, ge=1)
    """Forks and shelves that are looked at for one person, at most."""


@dataclass
class _Walk:
    """How far the search for one person has come."""

    history: list[int]
    words: str
    interests: str = ""
    stack: list[Branch] = field(default_factory=list)
    found: list[int] = field(default_factory=list)
    visits: int = 0
    failed: bool = False
    """Whether a prompt got no answer; the retriever answers then."""


class Unillmrec(LanguageRanker):
    """One language model for recall, ranking and re-ranking: "Tired of plugins? Large language models can be end-to-end recommenders"
    (Zhang, Bao, Yan et al., 2024, arXiv:2404.00702).

    The catalogue is a tree by categories (`recsmith.language.item_tree`), so that no prompt needs to hold it. The chain of
    recommendation: the model says what interests a person, walks down the branches that fit, chooses items on the shelves it comes to, and
    orders what it has found with `ranker` (the template `rank-diverse` is the paper's re-ranking). Without a language model the walk and
    the order follow an encoder's vectors; the card says so.

    Deviations: the tree is made of categories and shared words of the texts, where the paper lets the model group news by keywords;
    where too little is found, popular items fill up (figure `found by the walk`, per person), and they stand alone where a prompt of the
    walk got no answer (`walk failed`).
    """

    Config: ClassVar[type[UnillmrecConfig]] = UnillmrecConfig
    config: UnillmrecConfig

    def __init__(self, config: UnillmrecConfig, *, items: int, backend: Backend | None = None) -> None:
        super().__init__(config, items=items, backend=backend)
        names = ("unillmrec-interests", "unillmrec-branches", "unillmrec-items")
        self._templates = {name.removeprefix("unillmrec-"): load_template(name) for name in names}
        self._walks = self._walked = self._broken = 0
        self._reading = Reading(ground_in)

    @cached_property
    def tree(self) -> Branch:
        """The whole catalogue as shelves inside shelves."""
        return grow_tree(self.table.texts, self._item_facts().categories, leaf=self.config.leaf)

    def read(self, texts: Sequence[str]) -> None:
        """The items' own words, which also name shelves."""
        self.__dict__.pop("tree", None)
        super().read(texts)

    def read_facts(self, facts: ItemFacts) -> None:
        """Categories, by which the tree parts."""
        self.__dict__.pop("tree", None)
        super().read_facts(facts)

    def figures(self) -> dict[str, Any]:
        """As every language ranker; how many items the walks found, and what was wrong with their answers."""
        read = self._reading.figures()
        walks = max(1, self._walks)
        more = {"found by the walk": self._walked / walks, "walk unread": read["format error"], "walk failed": self._broken / walks}
        return {**super().figures(), **more, **{f"walk {name}": read[name] for name in ("hallucination", "duplicate")}}

    def _candidates(self, scores: Tensor, rows: list[Tensor], words: Sequence[str]) -> list[list[int]]:
        """What the walk finds outside of each history, filled up by the retriever."""
        wanted = min(self.config.candidates, self.items)
        behind = best_outside(scores, rows, wanted)
        walks = {row: _Walk(items.tolist(), words[row], stack=[self.tree]) for row, items in enumerate(rows) if len(items)}
        if walks:
            self._walk(list(walks.values()), wanted)
        for row, walk in walks.items():
            self._walks, self._broken = self._walks + 1, self._broken + walk.failed
            if walk.failed:
                continue
            self._walked += len(walk.found[:wanted])
            behind[row] = list(dict.fromkeys([*walk.found[:wanted], *behind[row]]))[:wanted]
        return behind

    def _walk(self, walks: list[_Walk], wanted: int) -> None:
        asker = self._speaker()
        if asker is not None:
            values: list[dict[str, Value]] = [
                {"history": self._texts(walk.history[-self.config.max_history :]), "request": walk.words or None} for walk in walks
            ]
            said = self._ask("interests", values, asker)
            for walk, answer, interests in zip(walks, said, told(said), strict=True):
                walk.interests, walk.failed = interests, answer is None
        while going := [walk for walk in walks if self._goes_on(walk, wanted)]:
            here = [walk.stack.pop() for walk in going]
            orders = self._choose(going, here)
            for walk, branch, order in zip(going, here, orders, strict=True):
                walk.visits += 1
                if branch.branches:
                    chosen, every = order[: self.config.branches], completed(order, len(branch.branches))
                    others = [branch.branches[place] for place in reversed(every) if place not in chosen]
                    walk.stack = [*others, *walk.stack, *(branch.branches[place] for place in reversed(chosen))]
                else:
                    shown = self._shown(walk, branch)
                    walk.found += [shown[place] for place in order[: self.config.picks]]

    def _goes_on(self, walk: _Walk, wanted: int) -> bool:
        return bool(walk.stack) and not walk.failed and len(walk.found) < wanted and walk.visits < self.config.visits

    def _choose(self, walks: list[_Walk], here: list[Branch]) -> list[list[int]]:
        """Positions of the branches, or of the items on the shelf, that each person is led to, best first."""
        options = [
            [f"{one.name}: {len(one.items)} items" for one in branch.branches]
            if branch.branches
            else self._texts(self._shown(walk, branch))
            for walk, branch in zip(walks, here, strict=True)
        ]
        if self._asker is None:
            return [self._nearest(walk, branch) for walk, branch in zip(walks, here, strict=True)]
        found: list[list[int]] = [[] for _ in walks]
        for step, count in (("branches", self.config.branches), ("items", self.config.picks)):
            asked = [place for place, branch in enumerate(here) if bool(branch.branches) == (step == "branches") and options[place]]
            name = "branches" if step == "branches" else "candidates"
            values: list[dict[str, Value]] = [
                {"interests": walks[place].interests, name: options[place], "count": min(count, len(options[place]))} for place in asked
            ]
            for place, answer in zip(asked, self._ask(step, values, self._asker), strict=True):
                walks[place].failed = answer is None
                found[place] = self._reading.order(answer, options[place]) or list(range(len(options[place])))
        return found

    def _nearest(self, walk: _Walk, branch: Branch) -> list[int]:
        """Without a language model: by the cosine with the person's own words, or else with the mean of the history."""
        history = walk.history[-self.config.max_history :]
        person = self._query_vectors_of([walk.words])[0] if walk.words else self._vectors_of(self._texts(history)).mean(axis=0)
        shelves = [one.items for one in branch.branches] or [[item] for item in self._shown(walk, branch)]
        scores = [float(self._vectors_of(self._texts(items)).mean(axis=0) @ person) for items in shelves]
        return np.argsort(-np.array(scores), kind="stable").tolist()

    def _shown(self, walk: _Walk, branch: Branch) -> list[int]:
        without = {*walk.history, *walk.found}
        return [item for item in branch.items if item not in without]

    def _texts(self, items: Sequence[int]) -> list[str]:
        return [self.table.texts[item] for item in items]

    def _ask(self, step: str, values: list[dict[str, Value]], asker: Asker) -> list[str | None]:
        return ask_step(self._templates[step], values, asker, max_tokens=_MAX_TOKENS)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.__dict__.pop("tree", None)
        super()._load_from_state_dict(*args, **kwargs)
