"""`Selective`: any model of titles, tuned on the few histories that teach it most (Lin et al., 2024: DEALRec).

class Mine(Selective, TitleModel): ...    # its config inherits SelectiveConfig as well
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from recsmith.config import Config
from recsmith.data import Histories
from recsmith.protocols import HistoryBatch
from recsmith.training import to_batch
from recsmith.tuning_language.candidates import TitleModel


class SelectionConfig(Config):
    """Which training histories are kept."""

    share: float = Field(0.1, gt=0, le=1)
    """Share of the training histories that tune the model."""
    effort: float = Field(0.5, ge=0)
    """Weight of the effort score beside the influence score; both are scaled to 0 … 1."""
    groups: int = Field(10, ge=1)
    """Ranges of the score that are all to be covered."""
    last: int = Field(10, ge=1)
    """Events before the last one that the surrogate reads."""
    dim: int = Field(32, ge=2)
    """Surrogate: width of item vectors."""
    steps: int = Field(100, ge=1)
    """Surrogate: optimiser steps over all histories."""
    damping: float = Field(0.01, gt=0)
    """Added to the curvature of the surrogate's loss, so that it can be inverted."""
    rounds: int = Field(30, ge=1)
    """Steps of that inversion."""
    seed: int = 0
    """Seed of the surrogate and of the draw inside a range."""


class SelectiveConfig(Config):
    """What models have in common that choose their training histories."""

    selection: SelectionConfig = SelectionConfig()
    """Which training histories are kept."""


class Selective(TitleModel):
    """Before tuning, every training history is scored by influence and effort; only chosen histories are tuned on.

    Influence: how much the surrogate's loss over all histories would rise without the history, by influence functions. Effort: the norm of
    the language model's gradient on it. Histories of people without index (-1) count as chosen.
    """

    chosen: Tensor

    def __init__(self, config: Any, *, items: int) -> None:
        super().__init__(config, items=items)
        self.register_buffer("chosen", torch.zeros(0, dtype=torch.bool))

    def observe(self, histories: Histories) -> None:
        """Make the model and let it read, then choose on which histories it is tuned."""
        super().observe(histories)
        if not self._loaded:
            settings = self.config.selection
            scores = scaled(influence_scores(histories, settings, items=self.items))
            if settings.effort:
                scores = scores + settings.effort * scaled(self.effort_scores(histories))
            kept = stratified(scores, share=settings.share, groups=settings.groups, seed=settings.seed)
            self.chosen = torch.zeros(len(histories), dtype=torch.bool, device=self.chosen.device)
            self.chosen[torch.from_numpy(kept)] = True

    def effort_scores(self, histories: Histories) -> np.ndarray:
        """Norm of the gradient of what learns, on one question about each history; float32 `[row]`."""
        random = np.random.default_rng(self.config.selection.seed)
        weights = [one for one in self.network.parameters() if one.requires_grad]
        found = np.zeros(len(histories), dtype=np.float32)
        self.network.eval()
        with torch.enable_grad():
            for row in np.flatnonzero(histories.lengths >= 2).tolist():
                cases = list(self.draw(to_batch(histories.slice(row, row + 1)), random))[:1]
                if cases:
                    gradients = torch.autograd.grad(self.network.loss([self.pair(case) for case in cases]), weights, allow_unused=True)
                    found[row] = sum(float(one.square().sum()) for one in gradients if one is not None) ** 0.5
        return found

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """That of the model, on the chosen histories of the batch alone."""
        return super().loss(self.kept(batch), step)

    def kept(self, batch: HistoryBatch) -> HistoryBatch:
        """The chosen rows of a batch."""
        if batch.users is None or not len(self.chosen):
            return batch
        known = (batch.users >= 0) & (batch.users < len(self.chosen))
        rows = ~known | self.chosen[torch.where(known, batch.users, 0)]
        tokens = rows.repeat_interleave(batch.offsets.diff())
        offsets = functional.pad(batch.offsets.diff()[rows].cumsum(0), (1, 0))
        times, weights = (None if one is None else one[tokens] for one in (batch.times, batch.weights))
        return HistoryBatch(batch.items[tokens], offsets, batch.users[rows], times, weights)

    def figures(self) -> dict[str, Any]:
        """As of every model of titles, and how many histories it was tuned on."""
        return {**super().figures(), "histories tuned on": int(self.chosen.sum()), "of": len(self.chosen)}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        stored = state_dict.get(f"{prefix}chosen")
        if stored is not None:
            self.chosen = self.chosen.new_zeros(stored.shape)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class Surrogate(nn.Module):
    """A small conventional recommender: the last event follows on the mean vector of those before it, and on the vector of the one
    before."""

    def __init__(self, items: int, dim: int) -> None:
        super().__init__()
        self.items = nn.Embedding(items + 1, dim, padding_idx=items)
        self.mix = nn.Linear(2 * dim, dim)
        nn.init.normal_(self.items.weight, std=dim**-0.5)

    def forward(self, before: Tensor, target: Tensor) -> Tensor:
        """Items before `[row, last]` (padded in front with the number of items) and the item behind → loss of each row."""
        real = (before < self.items.num_embeddings - 1)[..., None]
        vectors = self.items(before) * real
        mean = vectors.sum(1) / real.sum(1).clamp(min=1)
        state = torch.tanh(self.mix(torch.cat([mean, vectors[:, -1]], dim=1)))
        return functional.cross_entropy(state @ self.items.weight[:-1].T, target, reduction="none")


def influence_scores(histories: Histories, config: SelectionConfig, *, items: int) -> np.ndarray:
    """How much the mean loss of a surrogate over all histories would rise without each of them (Koh & Liang, 2017), float32 `[row]`.

    The inverse curvature times the mean gradient is found once, by conjugate gradients on curvature–vector products; a history's score is
    the product of that with its own gradient, of all histories in one forward derivative. Histories of fewer than 2 events get 0.
    """
    rows = np.flatnonzero(histories.lengths >= 2)
    found = np.zeros(len(histories), dtype=np.float32)
    if not len(rows):
        return found
    before, target = _lessons(histories, rows, last=config.last, items=items)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(config.seed)
        model = Surrogate(items, config.dim)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.02, weight_decay=0.01)
        for _ in range(config.steps):
            optimizer.zero_grad()
            model(before, target).mean().backward()
            optimizer.step()
    weights = {name: one.detach() for name, one in model.named_parameters()}

    def losses(values: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(model, values, (before, target))

    slope = torch.func.grad(lambda values: losses(values).mean())
    direction = _inverted(slope, weights, slope(weights), damping=config.damping, rounds=config.rounds)
    found[rows] = torch.func.jvp(losses, (weights,), (direction,))[1].detach().numpy() / len(rows)
    return found


def stratified(scores: np.ndarray, *, share: float, groups: int, seed: int) -> np.ndarray:
    """Rows that cover the range of the scores: cut into `groups` equal ranges, the emptiest first, each gives its part of what is left.

    At least one row; int64, ascending.
    """
    random = np.random.default_rng(seed)
    budget = max(1, round(share * len(scores)))
    edges = np.linspace(scores.min(), scores.max(), groups + 1)[1:-1]
    members = [np.flatnonzero(np.digitize(scores, edges) == group) for group in range(groups)]
    waiting = sorted((rows for rows in members if len(rows)), key=len)
    kept: list[int] = []
    for number, rows in enumerate(waiting):
        part = min(len(rows), -(-(budget - len(kept)) // (len(waiting) - number)))
        kept += random.choice(rows, part, replace=False).tolist()
    return np.sort(np.array(kept, dtype=np.int64))


def scaled(scores: np.ndarray) -> np.ndarray:
    """Scores between 0 and 1."""
    low, high = scores.min(), scores.max()
    return (scores - low) / max(high - low, 1e-12)


def _lessons(histories: Histories, rows: np.ndarray, *, last: int, items: int) -> tuple[Tensor, Tensor]:
    before = np.full((len(rows), last), items, dtype=np.int64)
    for place, row in enumerate(rows.tolist()):
        told = histories.row(row)[:-1][-last:]
        before[place, last - len(told) :] = told
    return torch.from_numpy(before), torch.from_numpy(histories.values[histories.offsets[1:][rows] - 1].copy())


Weights = dict[str, Tensor]


def _inverted(slope: Any, weights: Weights, wanted: Weights, *, damping: float, rounds: int) -> Weights:
    """x of (curvature + damping) x = wanted by conjugate gradients; stops where the curvature is no longer positive."""

    def curved(x: Weights) -> Weights:
        product = torch.func.jvp(slope, (weights,), (x,))[1]
        return {name: product[name] + damping * x[name] for name in x}

    def dot(a: Weights, b: Weights) -> float:
        return float(sum((a[name] * b[name]).sum() for name in a))

    x = {name: torch.zeros_like(one) for name, one in wanted.items()}
    left, step = dict(wanted), dict(wanted)
    size = first = dot(left, left)
    for _ in range(rounds):
        product = curved(step)
        bend = dot(step, product)
        if bend <= 0 or size <= 1e-10 * first:
            break
        rate = size / bend
        x = {name: x[name] + rate * step[name] for name in x}
        left = {name: left[name] - rate * product[name] for name in x}
        size, before = dot(left, left), size
        step = {name: left[name] + size / before * step[name] for name in x}
    return {name: value.detach() for name, value in (x if dot(x, x) else wanted).items()}
