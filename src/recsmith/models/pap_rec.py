"""PAP-REC: discrete prompts that are found by gradients, for everybody and for each group of people (Li et al., 2024)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from recsmith.data import Histories
from recsmith.models.retriever import closed_form_retriever
from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.candidates import CandidateConfig, CandidateModel, followed_events
from recsmith.tuning_language.network import Pair
from recsmith.tuning_language.tasks import Case
from recsmith.tuning_language.trigger_search import TriggerConfig, TriggerSearch
from recsmith.tuning_language.tuner import TunerConfig

_ROUNDS = 20


class PapRecConfig(CandidateConfig):
    """Settings of `PapRec`."""

    tasks: str = "bigrec"
    """Task set: a name that comes with the library, or the path of a .toml file; its first template asks for a title."""
    tuner: TunerConfig = TunerConfig()
    """Nothing of the language model is tuned; leave it as it is."""
    triggers: TriggerConfig = TriggerConfig()
    """The tokens that are searched."""
    groups: int = Field(4, ge=1)
    """Groups of people with tokens of their own, by what their histories are about."""
    questions: int = Field(256, ge=1)
    """Training events on which tokens are judged."""
    seed: int = 0
    """Seed of questions, groups and first tokens."""


class PapRec(CandidateModel):
    """Personalized automatic prompt for recommendation language models (PAP-REC: Li, Ji, Ge & Zhang, 2024, arXiv:2402.00284).

    A language model that has read item texts and histories is frozen; what is learned are tokens before the question, some for everybody
    and some for the group a person belongs to. As in the paper the likelihood of the right answer stands for the ranking measure while
    tokens are searched, and shared and personal tokens take turns. Candidates are ranked by the likelihood of their titles.

    Deviations: a small causal model or a folder's instead of P5; people form groups by the mean of their titles' embeddings (k-means), so
    that strangers have a group too, where the paper's personal tokens belong to single users; one task, the next item.
    """

    Config: ClassVar[type[PapRecConfig]] = PapRecConfig
    learns: ClassVar[Literal["closed-form"]] = "closed-form"  # type: ignore[assignment]

    triggers: Tensor
    centres: Tensor

    def __init__(self, config: PapRecConfig, *, items: int) -> None:
        super().__init__(config, items=items, retriever=closed_form_retriever(config.retriever, config.retriever_settings, items=items))
        self.register_buffer("triggers", torch.zeros(0, 0, dtype=torch.int64))
        self.register_buffer("centres", torch.zeros(0, 0))
        self._losses: list[float] = []

    def observe(self, histories: Histories) -> None:
        """Nothing yet: `solve` does it all."""

    def solve(self, histories: Histories) -> None:
        """Fit the retriever, make the language model and let it read; then part people into groups and search their tokens."""
        self._loaded = False
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            super().observe(histories)
        self.requires_grad_(False)
        self.eval()
        random = np.random.default_rng(self.config.seed)
        batch = HistoryBatch(torch.from_numpy(histories.values), torch.from_numpy(histories.offsets)).known()
        cases = list(self.draw(batch, random))
        self.centres, self.triggers = self.centres[:0], self.triggers[:0]
        self.centres = self._parted([case.history for case in cases], random)
        search = TriggerSearch(self.network, self.config.triggers, groups=self.config.groups, seed=self.config.seed)
        pairs: list[Pair] = [self.wording.pair(self.template, case) for case in cases]
        self._losses = search.run(pairs, self._groups([case.history for case in cases])) if cases else []
        self.triggers = torch.from_numpy(search.triggers).to(self.network.device)

    def draw(self, batch: HistoryBatch, random: np.random.Generator) -> Iterator[Case]:
        """The titles of random events that something precedes."""
        offsets = batch.offsets.tolist()
        for row, event in followed_events(batch, self.config.questions, random):
            yield self._case(batch.items[offsets[row] : event].tolist(), int(batch.items[event]))

    def judge(self, histories: Sequence[HistoryBatch], candidates: Sequence[list[int]]) -> list[Tensor]:
        """Log-likelihood of each candidate's title behind the tokens of the person's group."""
        told = [row.items.tolist() for row in histories]
        groups = self._groups(told)
        pairs: list[Pair] = []
        for history, group, chosen in zip(told, groups, candidates, strict=True):
            asked = self.wording.tokens(self.template.input, self._case(history, -1))
            before = self.triggers[group].tolist() if len(self.triggers) else []
            pairs += [([*before, *asked], [*self.wording.title(item), self.network.end]) for item in chosen]
        with torch.no_grad():
            parts = [self.network.log_likelihood(pairs[start : start + 256]) for start in range(0, len(pairs), 256)]
        return list(torch.cat(parts).split([len(chosen) for chosen in candidates]))

    def prompts(self) -> list[str]:
        """The tokens of each group, as text."""
        return [self.network.text(row) for row in self.triggers.tolist()]

    def figures(self) -> dict[str, Any]:
        """As every model of titles; the loss before and after the search, and the prompts found."""
        ends = {"loss before the search": self._losses[0], "loss after it": self._losses[-1]} if self._losses else {}
        return {**super().figures(), **ends, "prompts": self.prompts()}

    def _case(self, history: Sequence[int], item: int) -> Case:
        return Case(item=item, history=history[-self.config.told_history :])

    @torch.no_grad()
    def _vectors(self, histories: Sequence[Sequence[int]]) -> Tensor:
        """Mean of the told titles' word embeddings, unit length, `[history, dim]`."""
        table = self.network.model.get_input_embeddings().weight
        rows = [[token for item in history[-self.config.told_history :] for token in self.wording.title(item)] for history in histories]
        means = [table[torch.tensor(row)].mean(dim=0) if row else table.new_zeros(table.shape[1]) for row in rows]
        return torch.nn.functional.normalize(torch.stack(means).float(), dim=1)

    def _parted(self, histories: Sequence[Sequence[int]], random: np.random.Generator) -> Tensor:
        """Centres of the groups by k-means on the sphere, `[group, dim]`; no more groups than different histories."""
        if not histories:
            return torch.zeros(0, 0, device=self.network.device)
        vectors = self._vectors(histories)
        centres = vectors[torch.from_numpy(random.permutation(len(vectors))[: self.config.groups].copy())]
        for _ in range(_ROUNDS):
            nearest = (vectors @ centres.T).argmax(dim=1)
            means = [vectors[nearest == one].mean(dim=0) if (nearest == one).any() else centres[one] for one in range(len(centres))]
            centres = torch.nn.functional.normalize(torch.stack(means), dim=1)
        return centres

    def _groups(self, histories: Sequence[Sequence[int]]) -> list[int]:
        if not len(self.centres):
            return [0] * len(histories)
        found: list[int] = (self._vectors(histories) @ self.centres.T).argmax(dim=1).tolist()
        return found

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """How many groups and tokens there are is known only to the file: take its sizes before its values."""
        for name in ("triggers", "centres"):
            stored = state_dict.get(prefix + name)
            if stored is not None:
                setattr(self, name, getattr(self, name).new_zeros(stored.shape))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
