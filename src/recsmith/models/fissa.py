"""FISSA: self-attention for what somebody wants now, an item-similarity part for what they always liked (Lin, Pan & Ming, 2020)."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.nn.causal_encoder import CausalEncoder, CausalEncoderConfig, initialise_normal
from recsmith.nn.losses import cross_entropy_against
from recsmith.nn.negatives import shared_negatives
from recsmith.nn.next_step import NextStep
from recsmith.nn.pooling import causal_attention_pool
from recsmith.protocols import HistoryBatch


class FissaConfig(CausalEncoderConfig):
    """Size, regularisation and negatives of FISSA."""

    negatives: int = Field(512, ge=1)
    """Items drawn uniformly per batch, against which each target is told apart."""


class Fissa(NextStep):
    """Mixes two preferences per candidate: score = gate · (local · item) + (1 - gate) · (global · item).

    Paper: Lin, Pan & Ming, "FISSA: Fusing Item Similarity Models with Self-Attention Networks for Sequential Recommendation", RecSys
    2020. Local: SASRec's state. Global: attention with one learned query over all items of the history. Gate: a sigmoid of the last
    item, the global preference and the candidate.

    Deviations: each target is told apart from items drawn for the batch by a softmax with the correction for sampling, where the paper has
    one negative and binary cross-entropy; a learned start stands for the
    empty history. A training step holds `[token, negative]`, answering `[batch, item]`.
    """

    Config: ClassVar[type[Config]] = FissaConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(self, config: FissaConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.items = nn.Embedding(items, config.dim)
        self.encoder = CausalEncoder(config)
        self.key = nn.Linear(config.dim, config.dim)
        self.query = nn.Linear(config.dim, 1, bias=False)
        self.value = nn.Linear(config.dim, config.dim)
        self.gate_context = nn.Linear(2 * config.dim, 1)
        self.gate_item = nn.Linear(config.dim, 1, bias=False)
        self.start = nn.Parameter(torch.zeros(2 * config.dim + 1))
        self.apply(partial(initialise_normal, std=config.init_std))

    def forward(self, items: Tensor, offsets: Tensor) -> Tensor:
        """Item indices `[token]` of packed rows → local and global preference and the context's part of the gate, `[token, 2 dim + 1]`."""
        vectors = self.items(items)
        local = self.encoder(vectors, offsets)
        logits = self.query(self.key(vectors)).squeeze(1) * self.config.dim**-0.5
        lasting = causal_attention_pool(self.value(vectors), logits, offsets)
        gate = self.gate_context(torch.cat([vectors, lasting.to(vectors.dtype)], 1))
        return torch.cat([local.to(vectors.dtype), lasting.to(vectors.dtype), gate.to(vectors.dtype)], 1)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean over all positions of the sampled cross-entropy of the item that came next; 0 for a batch without events."""
        states, index = self.next_states(lambda tokens, offsets: self(batch.items[tokens], offsets), batch)
        targets, catalogue = batch.items[index], self.items.num_embeddings
        if not len(targets):
            return states.sum() * 0
        drawn = shared_negatives(items=catalogue, count=self.config.negatives, device=targets.device)
        correction = torch.tensor(self.config.negatives / catalogue, device=targets.device).log()
        positive = self._scores(states, self.items(targets)[:, None]).squeeze(1)
        against = self._scores(states, self.items(drawn)) - correction
        return cross_entropy_against(positive, against, hit=drawn == targets[:, None])

    def score(self, batch: HistoryBatch) -> Tensor:
        """Scores `[batch, item]`."""
        states = self.final_states(lambda tokens, offsets: self(batch.items[tokens], offsets), batch)
        return self._scores(states, self.items.weight)

    def _scores(self, states: Tensor, candidates: Tensor) -> Tensor:
        """Candidates `[candidate, dim]` shared by all states, or `[token, candidate, dim]` → scores.

        Returns `[token, candidate]`, or `[token, 1, candidate]` where the candidates are each state's own.
        """
        dim = self.config.dim
        local, lasting, context = states[:, :dim], states[:, dim : 2 * dim], states[:, 2 * dim :]
        if candidates.ndim == 3:
            local, lasting, context = local[:, None], lasting[:, None], context[:, None]
        turned = candidates.transpose(-1, -2)
        gate = (context + self.gate_item(candidates).transpose(-1, -2)).sigmoid()
        return gate * (local @ turned) + (1 - gate) * (lasting @ turned)
