"""GAN augmentation for collaborative filtering: a generator writes items for a person, a discriminator judges them (Wang et al., 2019)."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from recsmith.augmentation.parts import WriterConfig, draw_distinct, known_items, learned, open_places, packed, short_histories
from recsmith.data import Histories
from recsmith.nn.adversarial import is_generators_turn, tell_apart
from recsmith.nn.bags import dense_rows, distinct, multinomial_loss
from recsmith.nn.towers import BagTower
from recsmith.protocols import HistoryBatch, Progress


class GanWriterConfig(WriterConfig):
    """Sizes and rules of the game."""

    dim: int = Field(64, ge=1)
    """Width of the vectors of people and items in both players."""
    samples: int = Field(2, ge=1)
    """Items that the generator writes for a person at every step of the game."""
    temperature: float = Field(0.5, gt=0)
    """Of the Gumbel softmax in training: lower is closer to a choice of one item, and has noisier gradients."""
    likelihood_weight: float = Field(0.3, ge=0)
    """Weight of the likelihood of the person's own items in the generator's loss."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Share of a person's items hidden from the players in training."""
    candidates: int = Field(4, ge=1)
    """Items drawn for each event that is written; those that the discriminator takes most for real are kept."""


class _Game(nn.Module):
    """The two players, by turns."""

    def __init__(self, config: GanWriterConfig, *, items: int) -> None:
        super().__init__()
        self.config, self.items = config, items
        self.generator = BagTower(items, config.dim)
        self.discriminator = BagTower(items, config.dim)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        items, offsets = distinct(batch.items, batch.offsets, size=self.items)
        logits = self.generator(items, offsets, dropout=self.config.dropout)
        if is_generators_turn(step, generator_steps=1):
            with torch.no_grad():
                judged = self.discriminator(items, offsets, dropout=self.config.dropout)
            written = functional.gumbel_softmax(logits.repeat(self.config.samples, 1), tau=self.config.temperature)
            fooled = functional.softplus(-(written * judged.repeat(self.config.samples, 1)).sum(1)).mean()
            return fooled + self.config.likelihood_weight * multinomial_loss(logits, items, offsets) / len(logits)
        own = dense_rows(items, offsets, torch.ones_like(items, dtype=logits.dtype), size=self.items)
        real, written = (torch.multinomial(shares.detach(), self.config.samples, replacement=True) for shares in (own, logits.softmax(1)))
        return tell_apart(self.discriminator(items, offsets, dropout=self.config.dropout), real, written)


class GanWriter:
    """Writes, for people with few events, items that its generator draws and its discriminator takes for real.

    Paper: Wang, Yin, Wang, Nguyen, Huang & Cui, "Enhancing Collaborative Filtering with Generative Augmentation", KDD 2019 (AugCF): a
    generator conditional on the person, differentiable through the Gumbel softmax, against a discriminator; what it writes joins the
    training data.

    Deviations: a person is the bag of their items, without side information; only liked items are written, with no label of dislike; the
    second phase, in which the paper's discriminator becomes the recommender, falls away, because any model trains on the result; a
    likelihood term steadies the generator. The order of the written events is that of the discriminator, the surest last.

    Memory: a training step holds `samples` arrays `[batch, item]` and their gradients.
    """

    Config: ClassVar[type[GanWriterConfig]] = GanWriterConfig

    def __init__(self, config: GanWriterConfig) -> None:
        self.config = config
        self._figures: dict[str, Any] = {}

    def write(self, train: Histories, *, items: int, seed: int, progress: Progress | None = None) -> tuple[Histories, np.ndarray]:
        """See `Augmenter`."""
        random = torch.Generator().manual_seed(seed)
        game = learned(partial(_Game, self.config, items=items), train, self.config, seed=seed, progress=progress)
        known, parts, doubts = known_items(train, items), [], []
        for rows, batch in short_histories(train, self.config, items=items):
            written, judged = self._written(game, batch, known, random)
            parts.append((rows, written))
            doubts.append(judged)
        self._figures = {"taken for real": float(torch.cat(doubts).mean()) if doubts else None}
        histories = packed(len(train), parts)
        return histories, np.zeros(len(histories.values), dtype=np.int64)

    def figures(self) -> dict[str, Any]:
        """Mean chance, by the discriminator, that a written event is real."""
        return self._figures

    @torch.no_grad()
    def _written(self, game: _Game, batch: HistoryBatch, known: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Items `[row, event]` and the discriminator's opinion of those that are there, `[written]`."""
        items, offsets = distinct(batch.items, batch.offsets, size=len(known))
        drawn = draw_distinct(
            game.generator(items, offsets), open_places(batch, known), count=self.config.events * self.config.candidates, random=random
        )
        judged = game.discriminator(items, offsets).gather(1, drawn.clamp(min=0)).masked_fill(drawn < 0, float("-inf"))
        best, places = judged.topk(min(self.config.events, drawn.shape[1]), dim=1)
        chosen = drawn.gather(1, places)
        return chosen.flip(1), best[chosen >= 0].sigmoid()
