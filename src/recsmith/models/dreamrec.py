"""DreamRec: diffusion in the space of item vectors, guided by the history, dreams up the vector of the wanted item (Yang et al., 2023)."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from recsmith.config import Config
from recsmith.nn.causal_encoder import CausalEncoder, CausalEncoderConfig, initialise_normal
from recsmith.nn.diffusion import GaussianDiffusion, cosine_variance, step_embedding
from recsmith.nn.next_step import NextStep
from recsmith.protocols import HistoryBatch


class DreamRecConfig(CausalEncoderConfig):
    """Size, noise and guidance of DreamRec."""

    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of values dropped, in the input and the two parts of each block."""
    steps: int = Field(100, ge=2)
    """Diffusion steps in training."""
    answer_steps: int = Field(20, ge=1)
    """Steps of the way back when answering, spread evenly over the diffusion steps."""
    unguided: float = Field(0.1, ge=0, lt=1)
    """Share of training positions whose history is replaced by a learned "nothing known"."""
    guidance: float = Field(2.0, ge=0)
    """How far answers go beyond the guided prediction, away from the unguided one (the paper's w)."""
    denoiser: int = Field(256, ge=1)
    """Width of the denoising network's hidden layer."""


class DreamRec(NextStep):
    """Predicts the clean vector of the next item from a noisy one, the step and the history's state; items near the dream score high.

    Paper: Yang, Wu, Wang, Wang, Yuan & He, "Generate What You Prefer: Reshaping Sequential Recommendation via Guided Diffusion",
    NeurIPS 2023. No negatives: the loss is the squared error of the clean vector. Guidance without a classifier: some positions
    train without their history.

    Deviations: item vectors are scaled to length √dim where they are targets and gradients do not reach them there, or the loss could
    fall by shrinking them all; they learn as inputs. Answers are the same every time: they start at the mean of the noise and follow
    the means of the way back in `answer_steps` strides. A cosine schedule; a learned start stands for the empty history.
    """

    Config: ClassVar[type[Config]] = DreamRecConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(self, config: DreamRecConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.items = nn.Embedding(items, config.dim)
        self.encoder = CausalEncoder(config)
        self.start = nn.Parameter(torch.zeros(config.dim))
        self.nothing = nn.Parameter(torch.zeros(config.dim))
        self.diffusion = GaussianDiffusion(cosine_variance(config.steps))
        width = 2 * (config.dim // 2)
        self.step_width = max(width, 2)
        inputs = 2 * config.dim + self.step_width
        self.denoiser = nn.Sequential(nn.Linear(inputs, config.denoiser), nn.GELU(), nn.Linear(config.denoiser, config.dim))
        self.apply(partial(initialise_normal, std=config.init_std))
        for layer in self.denoiser:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_normal_(layer.weight)
        nn.init.normal_(self.items.weight)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Squared error of the restored vector, mean over positions and values; 0 for a batch without events."""
        states, index = self.next_states(lambda tokens, offsets: self.encoder(self.items(batch.items[tokens]), offsets), batch)
        if not len(index):
            return states.sum() * 0
        clean = self._targets()[batch.items[index]]
        steps = torch.randint(self.config.steps, [len(index)], device=clean.device)
        hidden = torch.rand(len(index), 1, device=clean.device) < self.config.unguided
        guides = torch.where(hidden, self.nothing, states)
        noisy = self.diffusion.corrupt(clean, steps, torch.randn_like(clean))
        return functional.mse_loss(self._restore(noisy, guides, steps), clean)

    def score(self, batch: HistoryBatch) -> Tensor:
        """`[batch, item]`: minus half the squared distance between the dreamt vector and each item's, up to a constant per row."""
        return self.dream(batch) @ self._targets().T

    def dream(self, batch: HistoryBatch) -> Tensor:
        """The vector of the item that would suit each history best, `[batch, dim]`."""
        states = self.final_states(lambda tokens, offsets: self.encoder(self.items(batch.items[tokens]), offsets), batch)

        def restore(current: Tensor, steps: Tensor) -> Tensor:
            guided, unguided = (self._restore(current, guide, steps) for guide in (states, self.nothing.expand_as(states)))
            return (1 + self.config.guidance) * guided - self.config.guidance * unguided

        return self.diffusion.descend(restore, torch.zeros_like(states), strides=self.config.answer_steps)

    def _restore(self, noisy: Tensor, guides: Tensor, steps: Tensor) -> Tensor:
        return self.denoiser(torch.cat([noisy, guides, step_embedding(steps, self.step_width).to(noisy.dtype)], 1))

    def _targets(self) -> Tensor:
        """The item vectors at length √dim, out of reach of gradients; `[item, dim]`."""
        return functional.normalize(self.items.weight.detach(), dim=1) * self.config.dim**0.5
