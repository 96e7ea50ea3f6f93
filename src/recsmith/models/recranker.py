"""RecRanker: a language model tuned on well-chosen people to rank point-wise, pair-wise and list-wise (Luo et al., 2023)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from recsmith.data import Histories
from recsmith.models.retriever import closed_form_retriever
from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.candidates import followed_events
from recsmith.tuning_language.hybrid import HybridConfig, HybridModel
from recsmith.tuning_language.people_sampling import sampled_people


class RecrankerConfig(HybridConfig):
    """Settings of `Recranker`."""

    people: int = Field(10_000, ge=1)
    """Draws of people, with replacement, that the model is tuned on."""
    clusters: int = Field(20, ge=1)
    """Groups of alike people from which half of them are drawn."""
    penalty: float = Field(0.9, ge=0, le=1)
    """Probability that somebody who is drawn again counts again, to the power of the times before; 0: everybody at most once."""


class Recranker(HybridModel):
    """Adaptive sampling of people, prompts with a conventional recommender's opinion, and a hybrid of three ways to rank.

    Paper: "RecRanker: instruction tuning large language model as ranker for top-k recommendation" (2023). People are drawn by importance
    (log of their events) and by cluster, and repetitions penalised; which of two candidates stands first and the order of a list are random
    in training, and pairs are asked both ways in answering, against the bias of position.

    Deviations: the conventional recommender is the retriever, which learns in closed form; point-wise questions are yes or no, not stars;
    the list of an example is the target and then the retriever's order; clusters by the main axes of the interaction graph.
    """

    Config: ClassVar[type[RecrankerConfig]] = RecrankerConfig

    chosen: Tensor
    """How often each training row is used, int64 `[row]`."""

    def __init__(self, config: RecrankerConfig, *, items: int) -> None:
        super().__init__(config, items=items, retriever=closed_form_retriever(config.retriever, config.retriever_settings, items=items))
        self.register_buffer("chosen", torch.zeros(0, dtype=torch.int64))

    def observe(self, histories: Histories) -> None:
        """Draw the people; then as every ranker of candidates."""
        drawn = sampled_people(
            histories,
            people=self.config.people,
            clusters=self.config.clusters,
            penalty=self.config.penalty,
            items=self.items,
            seed=int(torch.randint(2**31, ()).item()),
        )
        self.chosen = torch.from_numpy(drawn).to(self.chosen.device)
        super().observe(histories)

    def events(self, batch: HistoryBatch, count: int, random: np.random.Generator) -> Iterator[tuple[int, int]]:
        """Events of the people who were drawn; rows of nobody in particular count once."""
        weights = np.ones(len(batch))
        if batch.users is not None and len(self.chosen):
            users = batch.users.to(self.chosen.device)
            known = (users >= 0) & (users < len(self.chosen))
            weights = torch.where(known, self.chosen[users.clamp(0, len(self.chosen) - 1)], 1).cpu().numpy().astype(np.float64)
        return followed_events(batch, count, random, weights=weights)

    def figures(self) -> dict[str, Any]:
        """As of every model of titles, and how many people it was tuned on."""
        return {**super().figures(), "people tuned on": int((self.chosen > 0).sum()), "draws that count": int(self.chosen.sum())}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        stored = state_dict.get(f"{prefix}chosen")
        if stored is not None:
            self.chosen = self.chosen.new_zeros(stored.shape)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
