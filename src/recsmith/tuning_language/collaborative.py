"""A fitted recommender inside a language model: its vectors of items and people, and how they come to stand in a prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.data import Histories, ItemCodes
from recsmith.protocols import HistoryBatch
from recsmith.training import TrainingConfig, train
from recsmith.tuning_language.network import LanguageNetwork
from recsmith.tuning_language.shared_prompts import Vectors, first_slot
from recsmith.tuning_language.tasks import Case
from recsmith.tuning_language.wording import Wording

Tokens = Callable[[int], Sequence[int]]
"""Number of an item, or of a history of a call → tokens that stand for it."""


class CollaborativeConfig(Config):
    """Which recommender lends its vectors, and how it is trained before the language model is tuned."""

    name: str = "sasrec"
    """Model that learns by gradient from events alone and scores by inner products, such as sasrec, gru4rec or lrurec."""
    settings: dict[str, Any] = {"dim": 32, "layers": 1, "hidden": 64, "dropout": 0.2}
    """Settings of that model."""
    training: TrainingConfig = TrainingConfig(epochs=30, batch_size=64, learning_rate=5e-3, schedule="linear", max_history=50)
    """How it is trained."""


class CollaborativePart(nn.Module):
    """An `InnerProductModel`, fitted once and kept as it is: an item's vector is what it answers with, a person's what it asks with."""

    def __init__(self, model: nn.Module, training: TrainingConfig) -> None:
        super().__init__()
        self.model, self.training_config = model.requires_grad_(False), training

    def fit(self, histories: Histories) -> None:
        """Train on the histories (row = user); no weight of it learns afterwards."""
        self.model.requires_grad_(True)
        train(self.model, histories, self.training_config)
        self.model.requires_grad_(False)

    @torch.no_grad()
    def items(self) -> Tensor:
        """`[item, dim]`."""
        vectors: Tensor = cast(Any, self._answering()).answer_vectors()[0]
        return vectors

    @torch.no_grad()
    def people(self, histories: Sequence[HistoryBatch]) -> Tensor:
        """Vectors of the people behind histories of one row each, `[history, dim]`."""
        found: Tensor = cast(Any, self._answering()).queries(together(histories))
        return found

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.items().shape[1])

    def _answering(self) -> nn.Module:
        """The model without its dropout, also while the language model learns."""
        return self.model.eval()


class Projector(nn.Module):
    """Vectors of a recommender → vectors that a language model reads, `[…, dim]` → `[…, width]`: two layers with ReLU between."""

    def __init__(self, dim: int, *, hidden: int, width: int) -> None:
        super().__init__()
        self.dim, self.hidden = dim, hidden
        self.make(width)

    def make(self, width: int) -> None:
        """Start again, for a language model of this width."""
        self.first, self.second = nn.Linear(self.dim, self.hidden), nn.Linear(self.hidden, width)

    def forward(self, vectors: Tensor) -> Tensor:
        found: Tensor = self.second(self.first(vectors).relu())
        return found

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """The width is that of the stored language model."""
        stored = state_dict.get(f"{prefix}second.weight")
        if stored is not None and len(stored) != self.second.out_features:
            self.make(len(stored))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class MarkedWording(Wording):
    """Task texts in which `{item}` and `{user}` are whatever tokens a model lets stand for them."""

    def __init__(self, network: LanguageNetwork, titles: Sequence[str], *, max_title: int, mark: Tokens, person: Tokens) -> None:
        nothing = ItemCodes(np.zeros((len(titles), 0), dtype=np.int64), ())
        super().__init__(network, nothing, people=0, titles=titles, max_title=max_title)
        self.mark, self.person = mark, person

    def item(self, item: int) -> list[int]:
        """The tokens that stand for an item."""
        return list(self.mark(item))

    def _value(self, name: str, case: Case) -> list[int]:
        return list(self.person(case.user)) if name == "user" else super()._value(name, case)


def slot_wording(network: LanguageNetwork, titles: Sequence[str], *, max_title: int) -> MarkedWording:
    """One slot per item, and behind them one per history of a call (`Case.user` is its number)."""
    first, items = first_slot(network), len(titles)
    return MarkedWording(network, titles, max_title=max_title, mark=lambda item: [first + item], person=lambda row: [first + items + row])


def slot_vectors(part: CollaborativePart, histories: Sequence[HistoryBatch], project: nn.Module) -> Vectors:
    """What is read at the slots of `slot_wording`: projected vectors of items, and of the people behind these histories."""
    table = torch.cat([part.items(), part.people(histories)]).float()
    return lambda slots: cast(Tensor, project(table[slots]))


def together(histories: Sequence[HistoryBatch]) -> HistoryBatch:
    """Histories of one row each as one batch, without who they are of."""
    lengths = torch.tensor([0, *[len(one.items) for one in histories]], device=histories[0].items.device)
    times, weights = (_joined([getattr(one, name) for one in histories]) for name in ("times", "weights"))
    return HistoryBatch(torch.cat([one.items for one in histories]), lengths.cumsum(0), None, times, weights)


def _joined(parts: list[Tensor | None]) -> Tensor | None:
    there = [one for one in parts if one is not None]
    return torch.cat(there) if len(there) == len(parts) else None
