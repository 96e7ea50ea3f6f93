"""RDRec: reasons that a large language model reads out of reviews, learned by a small one beside its tasks (Wang et al., 2024)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from recsmith.data import ItemCodes, TrainingReviews
from recsmith.language.compiler import compile_prompt
from recsmith.language.completion import Backend
from recsmith.language.template import load_template
from recsmith.language.untrusted import plain_line
from recsmith.tuning_language.task_vectors import TaskVectors, TaskVectorsConfig
from recsmith.tuning_language.tasks import Case, Family
from recsmith.tuning_language.teacher import TeacherConfig

_LINES = {
    name: re.compile(rf"^[^\w\n]*{name}s?[^\w\n:]*:[^\w\n]*(.+)$", flags=re.IGNORECASE | re.MULTILINE)
    for name in ("preference", "attribute")
}


class RdrecConfig(TaskVectorsConfig):
    """Settings of `Rdrec`."""

    tasks: str = "rdrec"
    """Task set: a name that comes with the library, or the path of a .toml file."""
    mix: dict[Family, float] = {"sequential": 2.0, "direct": 3.0, "explanation": 1.0, "rationale": 1.0}
    """Examples of each task family per history of a batch, when its turn comes."""
    teacher: TeacherConfig = TeacherConfig()
    """The language model that reads reviews."""
    reviews: int = Field(1000, ge=1)
    """Reviews that it reads, drawn by lot; the others teach explanations alone."""
    seed: int = 0
    """Seed of that draw."""


class Rdrec(TaskVectors):
    """POD with two more questions: what does this person prefer, and which attributes has this item?

    Paper: "RDRec: rationale distillation for LLM-based recommendation" (ACL 2024). The teacher says of each review what it tells of the
    person's preferences and of the item's attributes; the small model learns to say both from the ids alone, in a task of its own among
    those of POD, and so the ids come to mean it.

    Deviations: those of POD; our words for the teacher's prompt; at most `reviews` are read; without a language model the most frequent
    words of item and review stand for both answers, and the card says so.
    """

    Config: ClassVar[type[RdrecConfig]] = RdrecConfig
    reads: ClassVar[tuple[str, ...]] = ("texts", "reviews")

    def __init__(self, config: RdrecConfig, *, codes: ItemCodes, backend: Backend | None = None) -> None:
        """`backend` takes the place of the one that the config names."""
        self._backend = backend
        self._rationales: dict[int, dict[str, str]] = {}
        self._distilled: dict[str, Any] = {}
        super().__init__(config, codes=codes)

    def read_reviews(self, reviews: TrainingReviews) -> None:
        """Reviews of training events; the teacher reads them here."""
        super().read_reviews(reviews)
        asker, template = self.config.teacher.asker(self._backend), load_template("rationale")
        chosen = np.sort(np.random.default_rng(self.config.seed).permutation(len(reviews))[: self.config.reviews]).tolist()
        titles = self.table.texts if len(self.table) else [f"item {item}" for item in range(len(self.item_codes))]
        values = [{"item": titles[int(reviews.items[place])], "review": reviews.texts[place]} for place in chosen]
        prompts = [compile_prompt(template, value, max_tokens=3000, count=asker.count_tokens).prompt for value in values]
        answers = [answer or "" for answer in asker.ask(prompts)]
        self._rationales = {place: _parted(answer) for place, answer in zip(chosen, answers, strict=True) if answer}
        without = sum(not all(line.search(answer) for line in _LINES.values()) for answer in answers)
        self._distilled = {"rationales": len(answers), "without the asked form": without, "written by": asker.figures()}

    def trained_families(self) -> list[Family]:
        """Task families for which there are data."""
        return [family for family in super().trained_families() if family != "rationale" or self._rationales]

    def figures(self) -> dict[str, Any]:
        """As of every such model, and what the teacher wrote at what cost."""
        return {**super().figures(), **self._distilled}

    def own_words(self) -> list[str]:
        """What the teacher wrote."""
        return [text for rationale in self._rationales.values() for text in rationale.values()]

    def _about_reviews(self, family: Family, count: int, random: np.random.Generator) -> Iterator[Case]:
        reviews = self._reviews
        if family != "rationale" or reviews is None:
            yield from super()._about_reviews(family, count, random)
            return
        places = list(self._rationales)
        for chosen in random.integers(0, len(places), count).tolist():
            place = places[chosen]
            yield Case(int(reviews.users[place]), int(reviews.items[place]), words=self._rationales[place])


def _parted(answer: str) -> dict[str, str]:
    """`preference` and `attributes` of an answer; a line that is missing is the whole answer."""
    found = {name: line.search(answer) for name, line in _LINES.items()}
    preference, attributes = (plain_line(match.group(1) if match else answer) for match in found.values())
    return {"preference": preference, "attributes": attributes}
