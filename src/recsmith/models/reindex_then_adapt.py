"""Reindex-Then-Adapt: titles become single tokens of a frozen language model, fitted to a platform (He et al., 2024)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from recsmith.data import Histories
from recsmith.decoding.grounding_single_token import SingleTokenIndex
from recsmith.errors import ConfigError
from recsmith.models.collaborator import collaborator
from recsmith.protocols import HistoryBatch
from recsmith.tuning_language.candidates import AT_ONCE, TitleConfig, TitleModel
from recsmith.tuning_language.collaborative import CollaborativeConfig
from recsmith.tuning_language.tasks import Case
from recsmith.tuning_language.tuner import TunerConfig


class ReindexThenAdaptConfig(TitleConfig):
    """Settings of `ReindexThenAdapt`."""

    tasks: str = "bigrec"
    """Task set: a name that comes with the library, or the path of a .toml file."""
    tuner: TunerConfig = TunerConfig()
    """Stays at full: nothing is put into the language model, and none of its weights learns."""
    reindex_steps: int = Field(200, ge=0)
    """Optimiser steps that teach the vectors of titles; those behind them fit the odds."""
    width: int = Field(64, ge=1)
    """Width of the recurrent layer that reads a title."""
    collaborative: CollaborativeConfig = CollaborativeConfig()
    """The recommender that a gate lets speak beside the language model."""


class ReindexThenAdapt(TitleModel):
    """Scores all items in one step of a language model that stays as it is, mixed with what a recommender says.

    Paper: "Reindex-Then-Adapt: improving large language models for conversational recommendation" (He et al., 2024). *Reindex*: a
    recurrent layer over the output vectors of a title's tokens makes one vector (`decoding.SingleTokenIndex`). *Adapt*: a bias per item,
    and a gate by the language model's state between its odds and those of a sequential recommender.

    Deviations: contexts are histories told in titles, where the paper's are dialogues; both steps learn from which item came next
    (`reindex_steps`); a small model of one's own, pretrained on titles and histories, unless a folder is named.
    """

    Config: ClassVar[type[ReindexThenAdaptConfig]] = ReindexThenAdaptConfig

    adapted: Tensor

    def __init__(self, config: ReindexThenAdaptConfig, *, items: int) -> None:
        super().__init__(config, items=items)
        if config.tuner.method != "full":
            raise ConfigError(f"tuner.method = {config.tuner.method} would tune a language model that stays as it is; leave it at full")
        self.collaborative = collaborator(config.collaborative, items=items)
        self.register_buffer("adapted", torch.tensor(False))
        self._goes_on = False
        self._make_index(torch.zeros(1, config.network.dim), [[0]] * items)

    def observe(self, histories: Histories) -> None:
        """Fit the recommender, let the language model read, and lay out its titles; a loaded model stays as it is."""
        self._goes_on = self._loaded
        if not self._loaded:
            self.collaborative.fit(histories)
        super().observe(histories)
        if not self._loaded:
            head = self.network.model.get_output_embeddings().weight
            self._make_index(head, [self.wording.title(item) or [self.network.end] for item in range(self.items)])
        self.network.requires_grad_(False)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Mean cross-entropy of what came next: by the vectors of titles alone in the first steps, then by the mixture."""
        self.adapted.fill_(self._goes_on or step >= self.config.reindex_steps)
        random = np.random.default_rng(int(torch.randint(2**62, ()).item()))
        cases = list(self.draw(batch.known(), random))
        if not cases:
            return self.index.bias.sum() * 0.0
        rows = Histories.from_rows([list(case.history) for case in cases])
        asked = HistoryBatch(*(torch.from_numpy(one).to(batch.items.device) for one in (rows.values, rows.offsets)))
        wanted = torch.tensor([case.item for case in cases], device=batch.items.device)
        return functional.cross_entropy(self._scores(asked), wanted)

    def score(self, batch: HistoryBatch) -> Tensor:
        """Log-probabilities `[batch, item]`, of the mixture once it is being fitted."""
        if not len(batch):
            return torch.zeros(0, self.items, device=self.network.device)
        return self._scores(batch.known())

    def draw(self, batch: HistoryBatch, random: np.random.Generator) -> Iterator[Case]:
        """Random events with what precedes them, the first of a history among them."""
        offsets = batch.offsets.cpu().numpy()
        rows = np.repeat(np.arange(len(batch)), np.diff(offsets))
        for event in random.integers(0, max(1, len(rows)), round(self.config.examples * len(batch)) if len(rows) else 0).tolist():
            yield Case(item=int(batch.items[event]), history=batch.items[int(offsets[rows[event]]) : event].tolist())

    def figures(self) -> dict[str, Any]:
        """As of every model of titles, and what the odds are mixed with."""
        learns = sum(one.numel() for one in (*self.index.parameters(), *self.gate.parameters()) if one.requires_grad)
        return {**super().figures(), "tuned": "nothing", "weights that learn": learns, "mixed with": self.config.collaborative.name}

    def _scores(self, batch: HistoryBatch) -> Tensor:
        states = self._states([batch.items[start:stop].tolist() for start, stop in pairwise(batch.offsets.tolist())])
        if not self.adapted:
            return (states @ self.index.item_vectors().T).log_softmax(dim=1)
        with torch.no_grad():
            spoken = (states @ self.index.item_vectors().T).log_softmax(dim=1)
            known = self.collaborative.model.eval().score(batch).float().log_softmax(dim=1)  # type: ignore[operator]
        gate = self.gate(states).sigmoid()
        return (gate * spoken + (1 - gate) * known + self.index.bias).log_softmax(dim=1)

    @torch.no_grad()
    def _states(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """The frozen language model's states behind the question, `[row, width]`, without its dropout."""
        self.network.eval()
        asked = self.asked([Case(history=row[-self.config.told_history :]) for row in rows])
        return torch.cat([self.network.last_states(asked[start : start + AT_ONCE]) for start in range(0, len(asked), AT_ONCE)])

    def _make_index(self, vectors: Tensor, titles: Sequence[Sequence[int]]) -> None:
        self.index = SingleTokenIndex(vectors, titles, width=self.config.width)
        self.gate = nn.Linear(vectors.shape[1], 1)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """How many words there are and how long titles get is known only to the file."""
        vectors, tokens = state_dict.get(f"{prefix}index.vectors"), state_dict.get(f"{prefix}index.tokens")
        if vectors is not None and tokens is not None:
            self._make_index(torch.zeros(vectors.shape), [[0] * tokens.shape[1]] * len(tokens))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
