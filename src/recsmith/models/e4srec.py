"""E4SRec: a language model reads the items of a history as injected vectors and answers with all items at once (Li et al., 2023)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from recsmith.config import Config
from recsmith.data import Histories
from recsmith.errors import ConfigError
from recsmith.nn.item_vectors import ItemVectors
from recsmith.nn.quantised_linear import weight_count
from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.network import LanguageNetwork, NetworkConfig
from recsmith.tuning_language.tuner import TunerConfig, learning


class E4srecConfig(Config):
    """Settings of `E4srec`."""

    network: NetworkConfig = NetworkConfig(words=300)
    """The language model: a small one of one's own, or a folder; decoder-only."""
    tuner: TunerConfig = TunerConfig()
    """What of it learns: full, lora (the paper, over a folder) or adapter."""
    prompt: str = "Taken so far:"
    """Words before the items."""
    max_history: int = Field(20, ge=1)
    """Most recent items that are read."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Probability of dropping a unit of an injected vector in training."""


class E4srec(nn.Module):
    """Item vectors of another model stand in the prompt as if they were words; a linear map of the state behind the last scores every item.

    Paper: "E4SRec: an elegant effective efficient extensible solution of large language models for sequential recommendation" (2023). Item
    vectors come from the recipe's encoder: those of a fitted recommender (`name = "file:…"`) as in the paper, or those of the texts.

    Deviations: a small model of one's own, of which everything learns, unless `network.folder` names another; every item of a history is
    a target, where the paper trains the last one alone; nothing stands behind the items in the prompt.
    """

    Config: ClassVar[type[E4srecConfig]] = E4srecConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"
    reads: ClassVar[tuple[str, ...]] = ("vectors",)

    def __init__(self, config: E4srecConfig, *, items: int, vectors: np.ndarray) -> None:
        super().__init__()
        if config.tuner.virtual_tokens or (config.network.folder is None and config.network.kind == "t5"):
            raise ConfigError("E4SRec injects vectors into a decoder-only model; use kind = causal and method = full, lora or adapter")
        self.config, self.items = config, items
        self.given = ItemVectors(vectors)
        self.network = LanguageNetwork(config.network, config.tuner)
        self._loaded = False
        self._attach(config.network.dim)
        if config.network.folder is None:
            self._make()

    def observe(self, histories: Histories) -> None:
        """Read the folder, where one is named; a loaded model stays as it is."""
        if self.config.network.folder is not None and not self._loaded:
            self._make()
            if self.network.reads_first:
                raise ConfigError(f"`{self.config.network.folder}` is an encoder–decoder; E4SRec needs a decoder-only model")
            self._attach(self.network.model.get_input_embeddings().embedding_dim)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean cross-entropy of every item given those before it; 0 for a batch without events."""
        rows = self._rows(batch.known(), self.config.max_history + 1)
        if not any(rows):
            return self.judge.weight.sum() * 0.0
        states, lengths = self._states([row[:-1] for row in rows])
        targets = torch.full(states.shape[:2], -100, dtype=torch.int64, device=states.device)
        for number, row in enumerate(rows):
            targets[number, : len(row)] = torch.tensor(row, device=states.device)
        return functional.cross_entropy(self.judge(states).flatten(0, 1).float(), targets.flatten(), ignore_index=-100)

    def score(self, batch: HistoryBatch) -> Tensor:
        """`[batch, item]`."""
        if not len(batch):
            return torch.zeros(0, self.items, device=self.judge.weight.device)
        states, lengths = self._states(self._rows(batch.known(), self.config.max_history))
        return self.judge(states[torch.arange(len(states), device=states.device), lengths]).float()

    def figures(self) -> dict[str, Any]:
        """Which language model it is, and how much of it learns."""
        kind = self.config.network.folder or "own causal"
        return {"backend": f"{kind}, {weight_count(self.network):,} weights", "weights that learn": sum(learning(self).values())}

    def _states(self, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
        """States behind the prompt and behind each item, `[row, 1 + longest, width]`, and the lengths of the rows."""
        device = self.judge.weight.device
        lengths = torch.tensor([len(row) for row in rows], device=device)
        items = nn.utils.rnn.pad_sequence([torch.tensor(row, dtype=torch.int64) for row in rows], batch_first=True).to(device)
        injected = functional.dropout(self.inject(self.given(items)), self.config.dropout, self.training)
        told = torch.tensor(self.network.tokens(self.config.prompt), device=device).expand(len(rows), -1)
        words = self.network.model.get_input_embeddings()(told)
        real = torch.arange(told.shape[1] + items.shape[1], device=device) < told.shape[1] + lengths[:, None]
        embedded = torch.cat([words, injected.to(words.dtype)], dim=1)
        answer = self.network.model(inputs_embeds=embedded, attention_mask=real.long(), output_hidden_states=True)
        return answer.hidden_states[-1][:, told.shape[1] - 1 :], lengths

    def _rows(self, batch: HistoryBatch, longest: int) -> list[list[int]]:
        offsets = batch.offsets.tolist()
        return [batch.items[max(start, stop - longest) : stop].tolist() for start, stop in pairwise(offsets)]

    def _make(self) -> None:
        self.network.make([self.config.prompt])

    def _attach(self, width: int) -> None:
        self.inject = nn.Linear(self.given.dim, width)
        self.judge = nn.Linear(width, self.items)
        nn.init.normal_(self.inject.weight, std=self.given.dim**-0.5)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """The width is that of the stored language model."""
        self._loaded = f"{prefix}network.description" in state_dict
        stored = state_dict.get(f"{prefix}judge.weight")
        if stored is not None and stored.shape[1] != self.judge.in_features:
            self._attach(stored.shape[1])
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
