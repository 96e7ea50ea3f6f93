"""HAMUR: one recommender for several domains, each with adapters whose middle a shared network makes for the person (Li et al., 2023)."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from recsmith.config import Config
from recsmith.data.item_facts import ItemFacts
from recsmith.errors import DataError
from recsmith.nn.causal_encoder import CausalEncoder, CausalEncoderConfig, initialise_normal
from recsmith.nn.grouped_scores import grouped_scores
from recsmith.nn.next_step import NextStep, random_prefixes
from recsmith.protocols import HistoryBatch


class HamurConfig(CausalEncoderConfig):
    """Size, domains and adapters of HAMUR."""

    dropout: float = Field(0.2, ge=0, lt=1)
    """Share of values dropped, in the input and the two parts of each block."""
    domains: int = Field(8, ge=1)
    """Domains, at most: the first categories with most items; the items of all others make the last one."""
    rank: int = Field(8, ge=1)
    """Width of an adapter's middle, the square matrix that the hyper-network makes."""
    hyper: int = Field(32, ge=1)
    """Width of the hyper-network's hidden layer."""


class HyperAdapters(nn.Module):
    """For each domain x → x + norm(act(x U_d H(x)) V_d): U and V belong to the domain, H comes from a network that all domains share."""

    def __init__(self, dim: int, *, domains: int, rank: int, hyper: int) -> None:
        super().__init__()
        self.inward = nn.Parameter(torch.empty(domains, dim, rank).normal_(std=dim**-0.5))
        self.outward = nn.Parameter(torch.zeros(domains, rank, dim))
        self.hyper = nn.Sequential(nn.Linear(dim, hyper), nn.ReLU(), nn.Linear(hyper, rank * rank))
        self.norm = nn.LayerNorm(dim)
        self.rank = rank

    def forward(self, states: Tensor) -> Tensor:
        """`[row, dim]` → `[row, domain, dim]`."""
        middle = self.hyper(states).view(-1, self.rank, self.rank) + torch.eye(self.rank, device=states.device)
        low = torch.einsum("nd,kdr,nrs->nks", states, self.inward, middle)
        adapted = torch.einsum("nks,ksd->nkd", functional.gelu(low), self.outward)
        return states[:, None] + self.norm(adapted)


class Hamur(NextStep):
    """Scores an item by the inner product of its vector with the person's state as the adapter of the item's domain sees it.

    Paper: "HAMUR: hyper adapter for multi-domain recommendation", CIKM 2023. A domain is an item's first category, so that people's
    histories go through all domains and what one teaches helps the others; the adapters are what each has of its own.

    Deviations: the paper predicts clicks from features of a log per domain, here the backbone is a causal transformer over one history of
    all domains; one adapter behind it, not one per layer; a random event of each row is predicted by a softmax over all domains' items.
    """

    Config: ClassVar[type[Config]] = HamurConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"
    reads: ClassVar[tuple[str, ...]] = ("facts",)

    domain: Tensor
    """Domain of each item, int64 `[item]`."""

    def __init__(self, config: HamurConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.items = nn.Embedding(items, config.dim)
        self.encoder = CausalEncoder(config)
        self.start = nn.Parameter(torch.zeros(config.dim))
        self.apply(partial(initialise_normal, std=config.init_std))
        self.adapters = HyperAdapters(config.dim, domains=config.domains, rank=config.rank, hyper=config.hyper)
        self.register_buffer("domain", torch.zeros(items, dtype=torch.int64))

    def read_facts(self, facts: ItemFacts) -> None:
        """Take the domains from the items' first categories. Raises `DataError` where there are none."""
        first = [categories[0] if categories else "" for categories in facts.categories]
        if not any(first):
            raise DataError("HAMUR divides items by their first category, but the catalogue names none; give it a column such as `genres`")
        numbers = {name: min(place, self.config.domains - 1) for place, (name, _) in enumerate(Counter(first).most_common())}
        self.domain.copy_(torch.tensor([numbers[name] for name in first]))

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Cross-entropy of a random event of each row given those before it; 0 for a batch without events."""
        targets, before, offsets = random_prefixes(batch.offsets, tokens=len(batch.items), longest=self.config.max_history)
        if not len(targets):
            return self.start.sum() * 0
        logits = self.score(HistoryBatch(batch.items[before], offsets))
        return functional.cross_entropy(logits.float(), batch.items[targets])

    def score(self, batch: HistoryBatch) -> Tensor:
        """Scores `[batch, item]`."""
        states = self.final_states(lambda tokens, offsets: self.encoder(self.items(batch.items[tokens]), offsets), batch)
        return grouped_scores(self.adapters(states), self.items.weight, self.domain)
