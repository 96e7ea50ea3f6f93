"""RecLoRA: low-rank updates of a language model, mixed for each person by a sequential recommender (Zhu et al., 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from recsmith.data import Histories
from recsmith.errors import ConfigError
from recsmith.models.collaborator import OverRecommender, collaborator
from recsmith.models.retriever import closed_form_retriever
from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.collaborative import CollaborativeConfig
from recsmith.tuning_language.personal import PersonalNetwork, Router
from recsmith.tuning_language.shared_prompts import require_sharing
from recsmith.tuning_language.tasks import Case
from recsmith.tuning_language.tuner import TunerConfig
from recsmith.tuning_language.yes_no_model import Group, YesNoConfig, YesNoModel


class RecloraConfig(YesNoConfig):
    """Settings of `Reclora`."""

    tasks: str = "tallrec"
    """Task set: a name that comes with the library, or the path of a .toml file."""
    tuner: TunerConfig = TunerConfig(method="lora", rank=4, scale=8.0)
    """Rank and strength of each update; the method stays lora."""
    parts: int = Field(4, ge=1)
    """Updates that are mixed beside each linear map."""
    hidden: int = Field(32, ge=1)
    """Width of the layer between a person's vector and the shares."""
    collaborative: CollaborativeConfig = CollaborativeConfig()
    """The sequential recommender that reads the long history."""
    few_to_many_steps: int = Field(200, ge=0)
    """Optimiser steps over which the events told rise from one to `told_history`."""


class Reclora(OverRecommender, YesNoModel):
    """TALLRec's question to a language model whose weights are the person's own: shares of updates, by what the recommender makes of them.

    Paper: "Lifelong personalized low-rank adaptation of large language models for recommendation" (2024). The prompt tells the events that
    the recommender holds to be nearest to the item asked about, in the order of time (long–short modality retriever), few of them at first
    (few-to-many learning); the recommender itself reads the whole history and shares out the updates.

    Deviations: those of `Tallrec`, but each question is read by itself, as each tells other events; the recommender stays as it was fitted;
    a small model of one's own unless a folder is named.
    """

    Config: ClassVar[type[RecloraConfig]] = RecloraConfig
    called: ClassVar[str] = "RecLoRA"

    told: Tensor
    network: PersonalNetwork

    def __init__(self, config: RecloraConfig, *, items: int) -> None:
        super().__init__(config, items=items, retriever=closed_form_retriever(config.retriever, config.retriever_settings, items=items))
        require_sharing(config.network, config.tuner, who=self.called)
        if config.tuner.method != "lora":
            raise ConfigError(f"tuner.method = {config.tuner.method} leaves no low-rank updates to mix; leave it at lora")
        if config.tuner.base != "float":
            raise ConfigError(
                f"tuner.base = {config.tuner.base} is for plain low-rank updates, and here several are mixed; leave it at float"
            )
        self.network = PersonalNetwork(config.network, parts=config.parts, rank=config.tuner.rank, scale=config.tuner.scale)
        self.collaborative = collaborator(config.collaborative, items=items)
        self.route = Router(self.collaborative.dim, hidden=config.hidden, parts=config.parts)
        self.register_buffer("told", torch.tensor(config.told_history))

    def observe(self, histories: Histories) -> None:
        """As `OverRecommender`; then the parts of the low-rank updates are put in."""
        super().observe(histories)
        self.network.tune()

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """As of every model of yes and no, telling more events with each step."""
        done = 1.0 if self._goes_on else min(1.0, (step + 1) / max(1, self.config.few_to_many_steps))
        self.told.fill_(max(1, round(done * self.config.told_history)))
        return super().loss(batch, step)

    def odds(self, groups: Sequence[Group]) -> Tensor:
        """Log odds of all questions, each read with the weights of its person; while the model practises, with nobody's."""
        alone = [(history, [case]) for history, cases in groups for case in cases]
        if self._tuning:
            shares = self.route(self.collaborative.people([history for history, _ in groups]))
            counts = torch.tensor([len(cases) for _, cases in groups], device=shares.device)
            self.network.mixture.shares = shares.repeat_interleave(counts, dim=0)
        found = super().odds(alone)
        self.network.mixture.shares = None
        return found

    def case(self, history: HistoryBatch, item: int, *, answer: str = "") -> Case:
        """The events nearest to the item, in order, and the item."""
        count = int(self.told)
        if len(history.items) > count:
            vectors = self.collaborative.items()
            near = functional.cosine_similarity(vectors[history.items], vectors[item][None], dim=1)
            kept = near.argsort(descending=True, stable=True)[:count].sort().values
            weights = None if history.weights is None else history.weights[kept]
            history = HistoryBatch(history.items[kept], history.offsets.new_tensor([0, count]), weights=weights)
        return super().case(history, item, answer=answer)

    def figures(self) -> dict[str, Any]:
        """As of every model of titles, and what is mixed."""
        return {**super().figures(), "updates mixed": self.config.parts, "mixed by": self.config.collaborative.name}

    @property
    def _tuning(self) -> bool:
        """Whether the language model is past what it practises with all its weights."""
        return not self.network.model.get_input_embeddings().weight.requires_grad or self._loaded
