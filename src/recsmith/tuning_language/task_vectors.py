"""`TaskVectors`: each task of a text-to-items model has vectors of its own in front of its question; what POD and RDRec share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from recsmith.data import ItemCodes
from recsmith.errors import ConfigError
from recsmith.nn.whole_words import WholeWords
from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.network import LanguageNetwork
from recsmith.tuning_language.tasks import Case, Family
from recsmith.tuning_language.text_to_items import TextToItems, TextToItemsConfig
from recsmith.tuning_language.wording import Wording


class TaskVectorsConfig(TextToItemsConfig):
    """What models with task vectors have in common."""

    vectors: int = Field(3, ge=1)
    """Continuous prompt vectors of each task."""
    most_ids: int = Field(128, ge=1)
    """Ids of a question that are told apart by whole-word embeddings; those behind share one."""


class WholeWordNetwork(LanguageNetwork):
    """A language network with whole-word embeddings; `most` is how many ids of an input are told apart."""

    def __init__(self, config: Any, tuner: Any, *, most: int) -> None:
        super().__init__(config, tuner)
        self._most = most

    def around(self, model: Any) -> Any:
        """The model behind whole-word embeddings."""
        return WholeWords(model, most=self._most)


class VectorWording(Wording):
    """Wording whose questions begin with the vectors of their task, tokens of their own behind all others."""

    fronts: dict[str, tuple[Family, list[int]]]
    """What a template asks → its family and the tokens of that family's vectors."""

    def tokens(self, text: str, case: Case) -> list[int]:
        """Tokens of one side of a template; a question's begin with its task's vectors."""
        front = self.fronts.get(text)
        return [*(front[1] if front else []), *super().tokens(text, case)]

    def _named(self, token: int) -> str:
        owners = [family for family, vectors in self.fronts.values() if token in vectors]
        return f"<task {owners[0]}>" if owners else super()._named(token)


class TaskVectors(TextToItems):
    """Trained one task at a time, each question behind its task's vectors, with whole-word embeddings.

    The first template of a family is the one that answers; where it holds ids alone, what the words of the others say is distilled into
    the vectors, which stand in front of all.
    """

    def __init__(self, config: Any, *, codes: ItemCodes) -> None:
        if config.tuner.virtual_tokens:
            raise ConfigError(
                f"tasks have vectors of their own here; choose tuner.method full, lora or adapter instead of {config.tuner.method}, "
                "without frozen_tokens"
            )
        super().__init__(config, codes=codes)

    def make_network(self) -> LanguageNetwork:
        """With whole-word embeddings."""
        return WholeWordNetwork(self.config.network, self.config.tuner, most=self.config.most_ids)

    def extra_tokens(self) -> int:
        """The vectors of all tasks are tokens of their own."""
        return self.config.vectors * len(self.task_set.families)

    def _make(self) -> None:
        super()._make()
        kinds = torch.zeros_like(self.network.model.kinds)
        wording = self.wording
        kinds[wording.stranger :] = 1
        for level, tokens in enumerate(wording.code_tokens.levels):
            kinds[tokens] = 1 if level == 0 else 2
        kinds[wording.stranger + 1 + wording.people :] = 0
        self.network.model.kinds.copy_(kinds)
        if self.config.tuner.method != "full":
            self.network.model.numbers.requires_grad_(True)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """That of one task, the next one at each step: task-alternated training."""
        trained = self.network.facts["notes"]["trained"]
        random = np.random.default_rng(int(torch.randint(2**62, ()).item()))
        return self.network.loss(self._pairs(trained[step % len(trained)], batch.known(), random))

    def new_wording(self, **parts: Any) -> Wording:
        """Questions begin with vectors."""
        made = VectorWording(self.network, self._codes(), **parts)
        first = made.stranger + 1 + made.people
        places = {family: number * self.config.vectors + first for number, family in enumerate(self.task_set.families)}
        made.fronts = {
            one.input: (one.family, list(range(places[one.family], places[one.family] + self.config.vectors)))
            for one in self.task_set.template
        }
        return made
