"""DreamRec: diffusion in the space of item vectors, guided by the history, dreams up the vector of the wanted item (Yang et al., 2023);
and iDreamRec, whose space is that of texts (Hu et al., 2024)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from recsmith.config import Config
from recsmith.data import Histories
from recsmith.nn.causal_encoder import CausalEncoder, CausalEncoderConfig, initialise_normal
from recsmith.nn.diffusion import GaussianDiffusion, cosine_variance, step_embedding
from recsmith.nn.item_vectors import ItemVectors, KeptTable
from recsmith.nn.next_step import NextStep
from recsmith.protocols import HistoryBatch


class DreamRecConfig(CausalEncoderConfig):
    """Size, noise and guidance of DreamRec."""

    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of values dropped, in the input and the two parts of each block."""
    width: int = Field(512, ge=1)
    """Values of an item's place in the space of the diffusion; iDreamRec's space has `dim`."""
    length: float = Field(1.0, gt=0)
    """Length of the vectors of places. Noise of length √width is added: longer ones can be told from each other under more of it."""
    rounds: int = Field(1, ge=0)
    """How often items move to the people who chose them, before training; a sparse log gains from a second time."""
    steps: int = Field(100, ge=2)
    """Diffusion steps in training."""
    answer_steps: int = Field(20, ge=1)
    """Steps of the way back when answering, spread evenly over the diffusion steps."""
    unguided: float = Field(0.1, ge=0, lt=1)
    """Share of training positions whose history is replaced by a learned "nothing known"."""
    guidance: float = Field(1.0, ge=0)
    """How far answers go beyond the guided prediction, away from the unguided one (the paper's w)."""
    denoiser: int = Field(256, ge=1)
    """Width of the denoising network's hidden layer."""


class Dreamer(NextStep, ABC):
    """Restores the clean place of the next item from a noisy one, the step and the history's state; items near the dream score high.

    What the encoder reads of items and where items lie is for the systems below to say. No negatives: the loss is the squared error of
    the clean place. Guidance without a classifier: some positions train without their history. Answers are the same every time: they
    start at the mean of the noise and follow the means of the way back in `answer_steps` strides. A cosine schedule; a learned start
    stands for the empty history.
    """

    Config: ClassVar[type[Config]] = DreamRecConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(self, config: DreamRecConfig, *, width: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = CausalEncoder(config)
        self.start = nn.Parameter(torch.zeros(config.dim))
        self.nothing = nn.Parameter(torch.zeros(config.dim))
        self.diffusion = GaussianDiffusion(cosine_variance(config.steps))
        self.width, self.step_width = width, 2 * ((config.dim + 1) // 2)
        inputs = width + config.dim + self.step_width
        self.denoiser = nn.Sequential(nn.Linear(inputs, config.denoiser), nn.GELU(), nn.Linear(config.denoiser, width))
        self.apply(partial(initialise_normal, std=config.init_std))
        for layer in self.denoiser:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_normal_(layer.weight)

    @abstractmethod
    def inputs(self, items: Tensor) -> Tensor:
        """What the encoder reads of items int64 `[token]`, `[token, dim]`."""

    @abstractmethod
    def places(self) -> Tensor:
        """Where items lie, vectors of one length, out of reach of gradients; `[item, width]`."""

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Squared error of the restored place as a share of its squared length, mean over positions; 0 for a batch without events."""
        states, index = self.next_states(lambda tokens, offsets: self.encoder(self.inputs(batch.items[tokens]), offsets), batch)
        if not len(index):
            return states.sum() * 0
        clean = self.places()[batch.items[index]]
        steps = torch.randint(self.config.steps, [len(index)], device=clean.device)
        hidden = torch.rand(len(index), 1, device=clean.device) < self.config.unguided
        guides = torch.where(hidden, self.nothing, states)
        noisy = self.diffusion.corrupt(clean, steps, torch.randn_like(clean))
        error = (self._restore(noisy, guides, steps) - clean).square().sum(1)
        return error.mean() / self.config.length**2

    def score(self, batch: HistoryBatch) -> Tensor:
        """`[batch, item]`: inner products of the dream with the items' places, which order items of one length by their distance."""
        return self.dream(batch) @ self.places().T

    def dream(self, batch: HistoryBatch) -> Tensor:
        """The place of the item that would suit each history best, `[batch, width]`."""
        states = self.final_states(lambda tokens, offsets: self.encoder(self.inputs(batch.items[tokens]), offsets), batch)

        def restore(current: Tensor, steps: Tensor) -> Tensor:
            guided, unguided = (self._restore(current, guide, steps) for guide in (states, self.nothing.expand_as(states)))
            return (1 + self.config.guidance) * guided - self.config.guidance * unguided

        return self.diffusion.descend(restore, states.new_zeros(len(states), self.width), strides=self.config.answer_steps)

    def _restore(self, noisy: Tensor, guides: Tensor, steps: Tensor) -> Tensor:
        restored = self.denoiser(torch.cat([noisy, guides, step_embedding(steps, self.step_width).to(noisy.dtype)], 1))
        return restored * (self.config.length / self.width**0.5)


class DreamRec(Dreamer):
    """Dreams in a space where items lie together that the same people chose.

    Paper: Yang, Wu, Wang, Wang, Yuan & He, "Generate What You Prefer: Reshaping Sequential Recommendation via Guided Diffusion",
    NeurIPS 2023.

    Deviations: those of `Dreamer`; and the paper learns the items' places with everything else, from random ones. Here they move from
    random ones to the people who chose them in training and stay there, at one length (`docs/negative-results.md` says what random
    ones came to). What the encoder reads of items is learned.
    """

    people_at_once: ClassVar[int] = 4096
    spots: Tensor

    def __init__(self, config: DreamRecConfig, *, items: int) -> None:
        super().__init__(config, width=config.width)
        self.items = nn.Embedding(items, config.dim)
        nn.init.normal_(self.items.weight)
        self.register_buffer("spots", torch.zeros(items, config.width))

    def observe(self, histories: Histories) -> None:
        """Place the items by who chose them; what nobody chose lies at 0, where no dream leads."""
        start = np.random.default_rng(0).standard_normal(tuple(self.spots.shape), dtype=np.float32)
        places = functional.normalize(torch.from_numpy(start).to(self.spots), dim=1)
        for _ in range(self.config.rounds):
            places = self._among_people(places, histories)
        chosen = torch.from_numpy(np.bincount(histories.values, minlength=len(places))).to(places)
        self.spots.copy_(places * (chosen > 0)[:, None] * self.config.length)

    def _among_people(self, places: Tensor, histories: Histories) -> Tensor:
        """Everybody stands in the middle of the items that they chose, and each item moves to the middle of its people."""
        moved = torch.zeros_like(places)
        for first in range(0, len(histories), self.people_at_once):
            rows = histories.slice(first, first + self.people_at_once)
            items = torch.from_numpy(rows.values).to(places.device)
            row = torch.from_numpy(np.repeat(np.arange(len(rows)), rows.lengths)).to(places.device)
            people = functional.normalize(places.new_zeros(len(rows), self.width).index_add_(0, row, places[items]), dim=1)
            moved.index_add_(0, items, people[row] / torch.from_numpy(rows.lengths).to(places)[row, None].sqrt())
        return functional.normalize(moved, dim=1)

    def inputs(self, items: Tensor) -> Tensor:
        return self.items(items)

    def places(self) -> Tensor:
        return self.spots


class IDreamRec(Dreamer):
    """Dreams in a space that no training moves: the vectors of the items' texts, turned and scaled so that all directions count alike.

    Paper: Hu, Zhang et al., "Generate and Instantiate What You Prefer: Text-Guided Diffusion for Sequential Recommendation", 2024
    (iDreamRec). A language model describes each item first (`recsmith write llm-rec`, its style `basic`), so that the space knows more of
    it than a title; new items have a place in it.

    Deviations: those of `Dreamer`; the space is made isotropic by its `dim` first principal components at equal variance; intentions in
    people's own words do not guide.
    """

    reads: ClassVar[tuple[str, ...]] = ("vectors",)
    inductive: ClassVar[bool] = True

    mean: Tensor
    turn: Tensor

    def __init__(self, config: DreamRecConfig, *, items: int, vectors: np.ndarray) -> None:
        super().__init__(config, width=config.dim)
        self.texts = ItemVectors(vectors)
        mean, turn = isotropic(self.texts.values, config.dim)
        self.register_buffer("mean", mean)
        self.register_buffer("turn", turn)
        self._table = KeptTable(self, self._turned)

    def inputs(self, items: Tensor) -> Tensor:
        return self._table()[items]

    def places(self) -> Tensor:
        return self._table() * (self.config.length / self.config.dim**0.5)

    def _turned(self) -> Tensor:
        return functional.normalize((self.texts.values - self.mean) @ self.turn, dim=1) * self.config.dim**0.5


def isotropic(vectors: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Mean `[width]` and a map `[width, dim]` after which the vectors `[item, width]` have variance 1 along all their main directions.

    Directions in which the vectors do not differ, and those that are missing, are mapped to 0.
    """
    mean = vectors.mean(0)
    _, spread, directions = torch.linalg.svd((vectors - mean).double(), full_matrices=False)
    spread, directions = spread[:dim], directions[:dim]
    real = spread > 1e-6 * spread.max().clamp(min=1e-12)
    scales = torch.where(real, len(vectors) ** 0.5 / spread.clamp(min=1e-12), 0.0)
    turn = vectors.new_zeros(vectors.shape[1], dim)
    turn[:, : len(scales)] = (directions.T * scales).float()
    return mean, turn
