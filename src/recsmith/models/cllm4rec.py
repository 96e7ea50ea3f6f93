"""CLLM4Rec: people and items as tokens of two language models on one frozen base, which keep to each other (Zhu et al., WWW 2024)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from recsmith.data import Histories
from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.candidates import TitleConfig, TitleModel
from recsmith.tuning_language.collaborative import MarkedWording
from recsmith.tuning_language.shared_prompts import (
    Prompt,
    Vectors,
    first_slot,
    next_states,
    require_decoder_only,
    require_sharing,
    way_likelihoods,
)
from recsmith.tuning_language.tasks import Case
from recsmith.tuning_language.tuner import TunerConfig
from recsmith.tuning_language.wording import Wording

_TITLES_AT_ONCE = 128
"""Items of a batch whose titles the content model learns in one step, at most."""

Kind = Literal["collaborative", "content"]


class Cllm4recConfig(TitleConfig):
    """Settings of `Cllm4rec`."""

    tasks: str = "cllm4rec"
    """Task set: a name that comes with the library, or the path of a .toml file; with templates named taken, content and recommend."""
    tuner: TunerConfig = TunerConfig()
    """What of the language model learns in the second stage; in the first, nothing of it does."""
    token_steps: int = Field(300, ge=0)
    """Optimiser steps of the first stage, in which only the tokens of people and items learn."""
    user_tokens: int = Field(5000, ge=0)
    """Tokens for people; beyond that, several share one; 0 = everybody is a stranger."""
    strangers: float = Field(0.2, ge=0, le=1)
    """Probability in training that a prompt does not say who it is, so that strangers are met there too."""
    regularisation: float = Field(0.1, ge=0)
    """Pull between the two tokens that an item has in the two models: weight of their mean squared distance."""
    content: float = Field(0.5, ge=0)
    """First stage: weight of the content model's loss beside the collaborative one's."""
    told: float = Field(0.6, gt=0, lt=1)
    """Second stage: share of a history that the prompt tells, on average; the rest is what is to be found."""
    max_history: int = Field(20, ge=1)
    """Most recent items that a prompt tells."""


class TwoTokens(nn.Module):
    """A vector per item in each of the two models, and one per person (0 = a stranger); slots are laid out in this order."""

    def __init__(self, items: int, people: int, width: int) -> None:
        super().__init__()
        self.collaborative, self.content = nn.Embedding(items, width), nn.Embedding(items, width)
        self.people = nn.Embedding(1 + people, width)
        for one in (self.collaborative, self.content, self.people):
            nn.init.normal_(one.weight, std=0.1)
        with torch.no_grad():
            self.content.weight.copy_(self.collaborative.weight)

    def slot(self, item: int, kind: Kind) -> int:
        """Of an item."""
        return item if kind == "collaborative" else self.collaborative.num_embeddings + item

    def person(self, user: int) -> int:
        """The slot of a person; strangers (-1) share one."""
        buckets = self.people.num_embeddings - 1
        return 2 * self.collaborative.num_embeddings + (0 if user < 0 or not buckets else 1 + user % buckets)

    def vectors(self) -> Vectors:
        """What is read at the slots."""
        table = torch.cat([self.collaborative.weight, self.content.weight, self.people.weight])
        return lambda slots: table[slots]

    def distance(self, items: Tensor) -> Tensor:
        """Mean squared distance between the two vectors of these items; 0 of none."""
        if not len(items):
            return self.collaborative.weight.sum() * 0.0
        return functional.mse_loss(self.collaborative(items), self.content(items))


class Cllm4rec(TitleModel):
    """Scores the whole catalogue by the inner product of the state behind "person … has taken … and will take" with the items' tokens.

    Paper: "Collaborative large language model for recommender systems" (WWW 2024). First stage, base frozen: the collaborative model learns
    its tokens from what people take after one another, the content model its own from texts, and the two tokens of an item pull at each
    other. Second stage: a history is parted at random into what is told and what is to be found, all at once, by a multinomial likelihood.

    Deviations: the content model reads titles of items, where the paper also has reviews and texts about people; people have one token, not
    two, and share one where there are more than `user_tokens`; some prompts name nobody, so that strangers are answered; the mutual
    regularisation is a point estimate, and stays on in the second stage; a small base of one's own, pretrained on titles and histories,
    unless a folder is named.
    """

    Config: ClassVar[type[Cllm4recConfig]] = Cllm4recConfig

    _kind: Kind

    def __init__(self, config: Cllm4recConfig, *, items: int) -> None:
        super().__init__(config, items=items)
        require_sharing(config.network, config.tuner, who="CLLM4Rec")
        for name in ("taken", "content", "recommend"):
            self.task_set.named(name)
        self._goes_on = False
        self._attach(config.network.dim)

    def observe(self, histories: Histories) -> None:
        """As every model of titles; with tokens of the folder's width."""
        self._goes_on = self._loaded
        super().observe(histories)
        require_decoder_only(self.network, who="CLLM4Rec")
        if self.config.network.folder is not None and not self._loaded:
            self._attach(self.network.model.get_input_embeddings().embedding_dim)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Of the first or the second stage, by how many steps were taken (a loaded model is in the second); 0 without events."""
        batch = batch.known()
        first = step < self.config.token_steps and not self._goes_on
        tuned = [one for one in self.network.parameters() if one.requires_grad]
        for one in tuned:
            one.requires_grad_(not first)
        rows = self._rows(batch, self.config.max_history + 1)
        random = np.random.default_rng(int(torch.randint(2**62, ()).item()))
        people = [-1 if random.random() < self.config.strangers else user for user in self._users(batch)]
        loss = self._tokens_loss(rows, people) if first else self._recommending_loss(rows, people, random)
        for one in tuned:
            one.requires_grad_(True)
        return loss + self.config.regularisation * self.tokens.distance(batch.items.unique())

    def score(self, batch: HistoryBatch) -> Tensor:
        """Logits `[batch, item]`."""
        if not len(batch):
            return torch.zeros(0, self.items, device=self.network.device)
        rows = self._rows(batch.known(), self.config.max_history)
        prompts = [self._prompt("recommend", user, row) for user, row in zip(self._users(batch), rows)]
        states = next_states(self.network, prompts, self.tokens.vectors())
        return torch.stack([one[-1] for one in states]) @ self.tokens.collaborative.weight.T

    def draw(self, batch: HistoryBatch, random: np.random.Generator) -> Iterator[Case]:
        """What each row took after what: one case per history of two events or more."""
        for user, row in zip(self._users(batch), self._rows(batch.known(), self.config.max_history + 1)):
            if len(row) > 1:
                yield Case(user, row[-1], row[:-1], template="recommend")

    def figures(self) -> dict[str, Any]:
        """As of every model of titles, and how far apart the two tokens of an item are."""
        with torch.no_grad():
            apart = float(self.tokens.distance(torch.arange(self.items, device=self.network.device)))
        return {
            **super().figures(),
            "distance of the two tokens": apart,
            "weights of tokens": sum(one.numel() for one in self.tokens.parameters()),
        }

    @property
    def wording(self) -> Wording:
        """With slots for people and items: items of the template `content` are those of the content model."""
        self._require_texts()
        if self._spoken is None:
            first = first_slot(self.network)
            self._spoken = MarkedWording(
                self.network,
                self.table.texts,
                max_title=self.config.max_title,
                mark=lambda item: [first + self.tokens.slot(item, self._kind)],
                person=lambda user: [first + self.tokens.person(user)],
            )
        return self._spoken

    def _prompt(self, template: str, user: int, history: Sequence[int]) -> Prompt:
        self._kind = "collaborative"
        told = self.wording.tokens(self.task_set.named(template).input, Case(user, history=history))
        return Prompt(told[:-1], [told[-1:]])

    def _tokens_loss(self, rows: Sequence[Sequence[int]], people: Sequence[int]) -> Tensor:
        """What comes after what, by the collaborative tokens; and titles, by the content tokens."""
        met = sorted({item for row in rows for item in row})
        if not met:
            return self.tokens.people.weight.sum() * 0.0
        items = [met[place] for place in torch.randperm(len(met))[:_TITLES_AT_ONCE].tolist()]
        collaborative = self._following(rows, people)
        self._kind = "content"
        asked = [self.wording.tokens(self.task_set.named("content").input, Case(item=item)) for item in items]
        prompts = [Prompt(told, [[*self.wording.title(item), self.network.end]]) for told, item in zip(asked, items, strict=True)]
        return collaborative - self.config.content * way_likelihoods(self.network, prompts, self.tokens.vectors()).mean()

    def _following(self, rows: Sequence[Sequence[int]], people: Sequence[int]) -> Tensor:
        """Mean cross-entropy of every item of the histories given those before it; their places are the prompt's last tokens."""
        there = [(row, user) for row, user in zip(rows, people, strict=True) if row]
        prompts = []
        for row, user in there:
            told = self._prompt("taken", user, row)
            whole = [*told.shared, *told.ways[0]]
            prompts.append(Prompt(whole[: len(whole) - len(row)], [whole[len(whole) - len(row) :]]))
        states = torch.cat([one[:-1] for one in next_states(self.network, prompts, self.tokens.vectors())])
        wanted = torch.tensor([item for row, _ in there for item in row], device=states.device)
        return functional.cross_entropy(states @ self.tokens.collaborative.weight.T, wanted)

    def _recommending_loss(self, rows: Sequence[Sequence[int]], people: Sequence[int], random: np.random.Generator) -> Tensor:
        """Mean negative log-likelihood of the held-out items of histories that are parted at random."""
        prompts: list[Prompt] = []
        wanted, places = [], []
        for row, user in zip(rows, people, strict=True):
            told = random.random(len(row)) < self.config.told
            hidden = [item for item, known in zip(row, told) if not known]
            if hidden:
                places += [len(prompts)] * len(hidden)
                prompts.append(self._prompt("recommend", user, [item for item, known in zip(row, told) if known]))
                wanted += hidden
        if not prompts:
            return self.tokens.people.weight.sum() * 0.0
        states = torch.stack([one[-1] for one in next_states(self.network, prompts, self.tokens.vectors())])
        logits = (states @ self.tokens.collaborative.weight.T).log_softmax(dim=1)
        return -logits[places, wanted].mean()

    def _rows(self, batch: HistoryBatch, longest: int) -> list[list[int]]:
        return [batch.items[max(start, stop - longest) : stop].tolist() for start, stop in pairwise(batch.offsets.tolist())]

    def _users(self, batch: HistoryBatch) -> list[int]:
        return [-1] * len(batch) if batch.users is None else batch.users.tolist()

    def _attach(self, width: int) -> None:
        self.tokens = TwoTokens(self.items, self.config.user_tokens, width)
        self._kind = "collaborative"

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """The width is that of the stored language model."""
        stored = state_dict.get(f"{prefix}tokens.people.weight")
        if stored is not None and stored.shape[1] != self.tokens.people.embedding_dim:
            self._attach(stored.shape[1])
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
