"""LLM4MSR: meta networks make layers of a multi-scenario recommender out of what a language model wrote (Wang et al., CIKM 2024)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from recsmith.config import Config
from recsmith.errors import DataError
from recsmith.nn.causal_encoder import CausalEncoder, CausalEncoderConfig, initialise_normal
from recsmith.nn.grouped_scores import grouped_scores
from recsmith.nn.item_vectors import ItemVectors
from recsmith.nn.meta_layer import MetaNetwork
from recsmith.nn.next_step import NextStep, random_prefixes
from recsmith.nn.poly_attention import LateTable
from recsmith.protocols import HistoryBatch


class Llm4MsrConfig(CausalEncoderConfig):
    """Size of the backbone and of the meta networks."""

    dropout: float = Field(0.2, ge=0, lt=1)
    """Share of values dropped, in the input and the two parts of each block."""
    scenarios: int = Field(16, ge=2)
    """Scenarios, at most: items of one text are one."""
    meta_hidden: int = Field(32, ge=1)
    """Width of the hidden layer of the meta networks."""
    unread: float = Field(0.3, ge=0, lt=1)
    """Share of training rows that do without the text about the person, so that people without one are answered too."""


class Llm4Msr(NextStep):
    """Scores an item by the inner product of its vector with the person's state as the item's scenario sees it.

    Paper: "LLM4MSR: an LLM-enhanced paradigm for multi-scenario recommendation" (Wang, Wang, Fu et al., CIKM 2024). The writer of the same
    name (`recsmith write llm4msr`) asks a language model, which is not tuned, how scenarios relate and what each person looks for across
    them. Hierarchical meta networks turn the vectors of these texts into weights: first a layer per scenario, on top of it a layer per
    person, h → h + act(h W(text) + b(text)), both behind a backbone with a shared bottom and a tower per scenario.

    Deviations: items of one text are a scenario, so the recipe's `text` must name the scenario; the texts' vectors are an encoder's, the
    paper's are the language model's hidden states; the backbone is a causal transformer over one history of all scenarios with a linear
    tower for each, where the paper predicts clicks from features; a random event is predicted by a softmax over all scenarios' items; who
    has no text passes the second layer unchanged.
    """

    Config: ClassVar[type[Config]] = Llm4MsrConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"
    reads: ClassVar[tuple[str, ...]] = ("texts", "vectors", "people")

    scenario: Tensor
    """Scenario of each item, int64 `[item]`."""
    first: Tensor
    """An item of each scenario, whose text's vector is the scenario's; int64 `[scenario]`, as many as `scenarios` of the config."""

    def __init__(self, config: Llm4MsrConfig, *, items: int, vectors: np.ndarray) -> None:
        super().__init__()
        self.config = config
        self.texts = ItemVectors(vectors)
        self.people = LateTable(self.texts.dim)
        self.items = nn.Embedding(items, config.dim)
        self.encoder = CausalEncoder(config)
        self.start = nn.Parameter(torch.zeros(config.dim))
        self.apply(partial(initialise_normal, std=config.init_std))
        self.towers = nn.Parameter(torch.zeros(config.scenarios, config.dim, config.dim))
        self.of_scenario, self.of_person = (MetaNetwork(self.texts.dim, config.dim, hidden=config.meta_hidden) for _ in range(2))
        self.register_buffer("scenario", torch.zeros(items, dtype=torch.int64))
        self.register_buffer("first", torch.zeros(config.scenarios, dtype=torch.int64))

    def read(self, texts: Sequence[str]) -> None:
        """Items of the same text are one scenario. Raises `DataError` for one scenario alone, and for more than the config allows."""
        counts = Counter(texts)
        if not 2 <= len(counts) <= self.config.scenarios:
            raise DataError(
                f"the items' texts make {len(counts)} scenarios, and LLM4MSR takes 2 to {self.config.scenarios} (model.scenarios); "
                'let `text` name what is the same for all items of a scenario, such as text = "{kind}: {llm4msr_scenario}"'
            )
        numbers = {text: number for number, (text, _) in enumerate(counts.most_common())}
        self.scenario.copy_(torch.tensor([numbers[text] for text in texts]))
        self.first[: len(counts)] = torch.tensor([texts.index(text) for text in numbers], device=self.first.device)

    def read_people(self, vectors: np.ndarray) -> None:
        """Take in the vectors of what is written about each person."""
        self.people.set(vectors)

    def figures(self) -> dict[str, Any]:
        """How many items each scenario has, and that what was written is all that is read of a language model."""
        counts = torch.bincount(self.scenario).tolist()
        return {"backend": "none; what was written into the data is encoded", "items of scenarios": counts}

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Cross-entropy of a random event of each row given those before it; 0 for a batch without events."""
        targets, before, offsets = random_prefixes(batch.offsets, tokens=len(batch.items), longest=self.config.max_history)
        if not len(targets):
            return self.start.sum() * 0
        users = None if batch.users is None else batch.users[batch.offsets.diff() > 0]
        if users is not None:
            users = torch.where(torch.rand(len(users), device=users.device) < self.config.unread, -1, users)
        return functional.cross_entropy(self.score(HistoryBatch(batch.items[before], offsets, users)).float(), batch.items[targets])

    def score(self, batch: HistoryBatch) -> Tensor:
        """Scores `[batch, item]`."""
        bottom = self.final_states(lambda tokens, offsets: self.encoder(self.items(batch.items[tokens]), offsets), batch)
        states = self.seen(bottom, self.people(batch.users, len(bottom)))
        return grouped_scores(states, self.items.weight, self.scenario)

    def seen(self, bottom: Tensor, told: Tensor) -> Tensor:
        """States of the bottom `[row, dim]` and vectors of people's texts `[row, told]` (zeros: none) → `[row, scenario, dim]`."""
        count = int(self.scenario.max()) + 1 if len(self.scenario) else 0
        towered = bottom[:, None] + torch.einsum("nd,sde->nse", bottom, self.towers[:count])
        weight, bias = self.of_scenario(self.texts(self.first[:count]))
        by_scenario = towered + functional.gelu(torch.einsum("nsd,sde->nse", towered, weight) + bias)
        weight, bias = self.of_person(told)
        personal = functional.gelu(torch.einsum("nsd,nde->nse", by_scenario, weight) + bias[:, None])
        return by_scenario + personal * told.any(1)[:, None, None]
