"""Fusion in the decoder over what others took: passages are read apart and answered from together (Izacard & Grave, 2021)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from recsmith.data import Histories
from recsmith.errors import ConfigError
from recsmith.models.retriever import closed_form_retriever
from recsmith.nn.neighbour_table import NeighbourTable
from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.candidates import CandidateConfig, CandidateModel, followed_events
from recsmith.tuning_language.fusion import fused_log_likelihood, fused_loss, require_encoder
from recsmith.tuning_language.network import NetworkConfig
from recsmith.tuning_language.tasks import Case
from recsmith.tuning_language.tuner import TunerConfig


class FusionInDecoderConfig(CandidateConfig):
    """Settings of `FusionInDecoder`."""

    network: NetworkConfig = NetworkConfig(kind="t5")
    """The language model: a small encoder–decoder of one's own, or the folder of one."""
    tuner: TunerConfig = TunerConfig()
    """What of it learns."""
    tasks: str = "fusion-in-decoder"
    """Task set with the templates `question` and `passage`: a name that comes with the library, or the path of a .toml file."""
    passages: int = Field(5, ge=1)
    """Passages that are read: one about each of the last items of the history."""
    neighbours: int = Field(4, ge=1)
    """Items that a passage names: those that most people took besides its item."""


class FusionInDecoder(CandidateModel):
    """Ranks candidates by the likelihood of their titles, given passages about what people took besides the items of the history.

    Fusion-in-Decoder (Izacard & Grave, EACL 2021), which Deldjoo et al. (2024, §3.3) name for retrieval-augmented recommendation: the
    encoder reads the question with one passage at a time, the decoder attends to all of them at once. More passages cost linearly more,
    and their order means nothing.

    Deviations: passages are looked up in counts of training events, not by a dense retriever; answers are titles of candidates.
    """

    Config: ClassVar[type[FusionInDecoderConfig]] = FusionInDecoderConfig

    def __init__(self, config: FusionInDecoderConfig, *, items: int) -> None:
        if config.tuner.virtual_tokens and config.tuner.method != "prefix":
            raise ConfigError(
                f"tuner.method = {config.tuner.method} puts virtual tokens before each passage, which fusion in the decoder does not read; "
                "choose full, lora, adapter or prefix, without frozen_tokens"
            )
        super().__init__(config, items=items, retriever=closed_form_retriever(config.retriever, config.retriever_settings, items=items))
        self.besides = NeighbourTable(items, config.neighbours)
        self.question, self.passage = self.task_set.template[0], self.task_set.of("alignment")[0]

    def observe(self, histories: Histories) -> None:
        """Count what people took besides; then as every model of titles. Raises `ConfigError` for a model without encoder."""
        self.besides.fit(histories.values, histories.offsets)
        super().observe(histories)
        require_encoder(self.network)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean cross-entropy per token of the titles of events drawn from the batch; 0 when there are none."""
        random = np.random.default_rng(int(torch.randint(2**62, ()).item()))
        cases = list(self.draw(batch.known(), random))
        if not cases:
            return self.network.loss([])
        return fused_loss(self.network, [self.passages(case) for case in cases], [self._title(case.item) for case in cases])

    def draw(self, batch: HistoryBatch, random: np.random.Generator) -> Iterator[Case]:
        """The titles of random events that something precedes."""
        offsets = batch.offsets.tolist()
        for row, event in followed_events(batch, max(1, round(self.config.examples * len(batch))), random):
            yield Case(item=int(batch.items[event]), history=batch.items[offsets[row] : event].tolist())

    def judge(self, histories: Sequence[HistoryBatch], candidates: Sequence[list[int]]) -> list[Tensor]:
        """Log-likelihood of each candidate's title; a row's passages are read once."""
        with torch.no_grad():
            return [
                fused_log_likelihood(self.network, self.passages(Case(history=row.items.tolist())), [self._title(item) for item in chosen])
                for row, chosen in zip(histories, candidates, strict=True)
            ]

    def passages(self, case: Case) -> list[list[int]]:
        """The question followed by each passage, as tokens; the question alone where nobody took anything besides."""
        question = self.wording.tokens(self.question.input, Case(history=case.history[-self.config.told_history :]))
        about = list(dict.fromkeys(reversed(case.history)))[: self.config.passages]
        found = []
        for item in about:
            others = [other for other in self.besides.neighbours[item].tolist() if other >= 0]
            if others:
                found.append([*question, *self.wording.tokens(self.passage.input, Case(item=item, history=others))])
        return found or [question]

    def _title(self, item: int) -> list[int]:
        return [*self.wording.title(item), self.network.end]
