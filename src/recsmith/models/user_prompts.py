"""Prompts of a person's own: a small vector per person, mapped to soft prompts of a frozen language model (baseline of ours, 2025)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from recsmith.errors import ConfigError
from recsmith.models.retriever import closed_form_retriever
from recsmith.nn.row_prompts import RowPrompts
from recsmith.nn.user_table import UserTable
from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.candidates import AT_ONCE, CandidateConfig, CandidateModel
from recsmith.tuning_language.network import LanguageNetwork
from recsmith.tuning_language.tasks import Case
from recsmith.tuning_language.tuner import TunerConfig
from recsmith.tuning_language.yes_no_questions import ANSWERS, yes_or_no


class UserPromptsConfig(CandidateConfig):
    """Settings of `UserPrompts`."""

    tasks: str = "tallrec"
    """Task set: a name that comes with the library, or the path of a .toml file."""
    tuner: TunerConfig = TunerConfig()
    """What all people share and learn besides: full (a small model of one's own), lora or adapter (over a folder)."""
    prompt: int = Field(4, ge=1)
    """Soft prompts before each question."""
    dim: int = Field(16, ge=1)
    """Width of a person's vector: what is kept for one more person."""
    user_slots: int = Field(10_000, ge=0)
    """People with a vector of their own, at most; all others are told by their history alone."""


class PromptNetwork(LanguageNetwork):
    """A language network behind prompts by row, which learn whatever else does."""

    def __init__(self, config: UserPromptsConfig) -> None:
        super().__init__(config.network, config.tuner)
        self._count = config.prompt

    def around(self, model: Any) -> Any:
        """The model behind prompts."""
        return RowPrompts(model, count=self._count)

    def tune(self) -> None:
        """What the tuner's method adds, and the shared prompt."""
        super().tune()
        self.model.virtual.requires_grad_(True)


class UserPrompts(CandidateModel):
    """Does this person like that, asked behind soft prompts made from the person's vector: what a person adds is `dim` numbers.

    Follows what Huang et al., 2025 (§9.1) ask for: personal nuance in light parameters, without one model or adapter each. A person's
    vector is the mean of small vectors of the items of the history plus, for people of the training log, a vector of their own; a linear
    map turns it into the prompts; of the language model, what `tuner` says learns for all together. Strangers have prompts from their
    history at once.

    Deviations: no published system is followed to the letter; yes and no as in TALLRec; people that an update adds get no vector of their
    own.
    """

    Config: ClassVar[type[UserPromptsConfig]] = UserPromptsConfig

    def __init__(self, config: UserPromptsConfig, *, items: int) -> None:
        if config.tuner.virtual_tokens:
            raise ConfigError(
                "prompts are made from people here; choose tuner.method full, lora or adapter, and model.prompt for their number"
            )
        super().__init__(config, items=items, retriever=closed_form_retriever(config.retriever, config.retriever_settings, items=items))
        self.network: PromptNetwork = PromptNetwork(config)
        self.item = nn.Embedding(items, config.dim)
        self.people = UserTable(config.user_slots, config.dim)
        nn.init.normal_(self.item.weight, std=config.dim**-0.5)
        self._attach(config.network.dim)

    def observe(self, histories: Any) -> None:
        """As every ranker of candidates; then a map for the width of the model."""
        super().observe(histories)
        width = self.network.model.get_input_embeddings().embedding_dim
        if width * self.config.prompt != self.to_prompts.out_features:
            self._attach(width)

    def extra_words(self) -> list[str]:
        """The two answers."""
        return [f" {answer}" for answer in ANSWERS] * 10

    def prompts(self, cases: Sequence[Case]) -> Tensor:
        """What each person adds to the prompts, `[case, prompt, width]`."""
        device = self.item.weight.device
        users = torch.tensor([case.user for case in cases], device=device)
        means = [
            self.item.weight[list(case.history)].mean(0) if case.history else self.item.weight.new_zeros(self.config.dim) for case in cases
        ]
        vectors = torch.stack(means) + self.people(users, rows=len(cases))
        return self.to_prompts(vectors).view(len(cases), self.config.prompt, -1)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Cross-entropy of the answers, each question behind its person's prompts."""
        random = np.random.default_rng(int(torch.randint(2**62, ()).item()))
        cases = list(self.draw(batch.known(), random))
        self.network.model.given = self.prompts(cases) if cases else None
        loss = self.network.loss([self.pair(case) for case in cases])
        self.network.model.given = None
        return loss

    def score(self, batch: HistoryBatch) -> Tensor:
        """`[batch, item]`."""
        users = [-1] * len(batch) if batch.users is None else batch.users.tolist()
        return self.ordered(batch, lambda rows, histories, candidates: self._judged([users[row] for row in rows], histories, candidates))

    def judge(self, histories: Sequence[HistoryBatch], candidates: Sequence[list[int]]) -> list[Tensor]:
        """Probability of yes for each candidate, of strangers."""
        return self._judged([-1] * len(histories), histories, candidates)

    def draw(self, batch: HistoryBatch, random: np.random.Generator) -> Iterator[Case]:
        """Yes or no about random events, no where another item took the event's place."""
        count = max(1, round(self.config.examples * len(batch)))
        asked = yes_or_no(batch, count, random, others=lambda _, tries: random.integers(0, self.items, tries).tolist())
        for row, event, item, answer in asked:
            user = -1 if batch.users is None else int(batch.users[row])
            yield self._case(user, batch.items[int(batch.offsets[row]) : event].tolist(), item, answer=answer)

    def figures(self) -> dict[str, Any]:
        """As of every model of titles, and how many numbers a person adds."""
        shared = sum(one.numel() for one in (self.network.model.virtual, *self.to_prompts.parameters()))
        return {**super().figures(), "weights of prompts": shared, "numbers per person": self.config.dim}

    def _judged(self, users: Sequence[int], histories: Sequence[HistoryBatch], candidates: Sequence[list[int]]) -> list[Tensor]:
        told = zip(users, histories, candidates, strict=True)
        cases = [self._case(user, row.items.tolist(), item) for user, row, chosen in told for item in chosen]
        parts = []
        for start in range(0, len(cases), AT_ONCE):
            part = cases[start : start + AT_ONCE]
            with torch.no_grad():
                self.network.model.given = self.prompts(part)
            parts.append(self.chances(part, ANSWERS)[:, 0])
        self.network.model.given = None
        return list(torch.cat(parts).split([len(chosen) for chosen in candidates]))

    def _case(self, user: int, history: Sequence[int], item: int, *, answer: str = "") -> Case:
        return Case(user, item, history[-self.config.told_history :], words={"answer": answer})

    def _attach(self, width: int) -> None:
        self.to_prompts = nn.Linear(self.config.dim, self.config.prompt * width)
        nn.init.normal_(self.to_prompts.weight, std=0.1)
        nn.init.zeros_(self.to_prompts.bias)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """The width is that of the stored language model."""
        stored = state_dict.get(f"{prefix}to_prompts.weight")
        if stored is not None and len(stored) != self.to_prompts.out_features:
            self._attach(len(stored) // self.config.prompt)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
