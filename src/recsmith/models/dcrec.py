"""DCRec: diffusion of the next item's vector under two conditions, the history around it and the history as memory (Huang et al., 2024)."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from recsmith.config import Config
from recsmith.nn.attention import CrossAttention, FeedForward, SelfAttention
from recsmith.nn.causal_encoder import CausalEncoder, CausalEncoderConfig, initialise_normal
from recsmith.nn.diffusion import GaussianDiffusion, cosine_variance, step_embedding
from recsmith.nn.dropout import Dropout
from recsmith.nn.losses import fused_cross_entropy
from recsmith.nn.next_step import random_prefixes
from recsmith.nn.packed import Plan, inserted, reversed_positions, row_ids, tail_index
from recsmith.protocols import HistoryBatch


class DcRecConfig(CausalEncoderConfig):
    """Size, noise and loss of DCRec."""

    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of values dropped, in the inputs and the parts of each block."""
    denoising_layers: int = Field(2, ge=1)
    """Blocks of the denoising transformer; `layers` is the depth of the encoder of the memory."""
    steps: int = Field(100, ge=2)
    """Diffusion steps in training."""
    answer_steps: int = Field(2, ge=1)
    """Steps of the way back when answering, spread evenly over the diffusion steps; the paper, too, needs a few only."""
    target_length: float = Field(0.25, gt=0)
    """Length of the vectors that noise of length √dim is added to; a longer one can be told from others under more of the noise."""
    vector_weight: float = Field(0.2, ge=0)
    """Weight of the squared error of the restored vector beside the cross-entropy of the item."""


class DcRec(nn.Module):
    """Restores the next item's vector from a noisy one that stands behind the history, while every place looks at the encoded history too.

    Paper: Huang, Huang, Yu, Chang, Hu, McAuley & Yao, "Dual Conditional Diffusion Models for Sequential Recommendation", 2024
    (arXiv:2410.21967). Implicit condition: history and noisy target are one sequence under self-attention. Explicit condition:
    cross-attention to the history's own encoding, which no noise touches. The diffusion step enters by conditional layer norm. The loss
    ties the continuous vector to the discrete item: squared error of the vector, and cross-entropy of the item under its inner products.

    Deviations: one target per row and step, drawn from all its events; targets of the diffusion are item vectors scaled to one length, out
    of reach of gradients, and so is what is restored, before it is compared with them; a linear map reads the noisy vector; the memory is
    encoded causally and begins with a learned place, which stands alone for the empty history; a cosine schedule; answers are the same
    every time: they start at the mean of the noise and follow the means of the way back.
    """

    Config: ClassVar[type[Config]] = DcRecConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(self, config: DcRecConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.items = nn.Embedding(items, config.dim)
        self.encoder = CausalEncoder(config)
        self.start = nn.Parameter(torch.empty(config.dim).normal_(std=config.init_std))
        self.places = nn.Embedding(config.max_history + 1, config.dim)
        self.read = nn.Linear(config.dim, config.dim)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(DualConditionBlock(config) for _ in range(config.denoising_layers))
        self.output_norm = nn.LayerNorm(config.dim)
        self.diffusion = GaussianDiffusion(cosine_variance(config.steps))
        self.apply(partial(initialise_normal, std=config.init_std))

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Cross-entropy of one event per row plus the weighted squared error of its vector; 0 for a batch without events."""
        target, before, offsets = random_prefixes(batch.offsets, tokens=len(batch.items), longest=self.config.max_history)
        if not len(target):
            return self.start.sum() * 0
        targets = batch.items[target]
        clean = self._scaled(self.items.weight[targets].detach())
        steps = torch.randint(self.config.steps, [len(targets)], device=targets.device)
        noisy = self.diffusion.corrupt(clean, steps, torch.randn_like(clean))
        restored = self._restore(batch.items[before], offsets, noisy, steps)
        entropy = fused_cross_entropy(restored, self.items.weight, targets)
        return entropy + self.config.vector_weight * functional.mse_loss(self._scaled(restored).to(clean.dtype), clean)

    def score(self, batch: HistoryBatch) -> Tensor:
        """Scores `[batch, item]`: inner products with the vector restored last, which is as long as cross-entropy made it."""
        if not len(batch):
            return self.items.weight.new_zeros(0, len(self.items.weight))
        kept, offsets = tail_index(batch.offsets, tokens=len(batch.items), length=self.config.max_history)
        restored = []

        def restore(noisy: Tensor, steps: Tensor) -> Tensor:
            restored.append(self._restore(batch.items[kept], offsets, noisy, steps))
            return self._scaled(restored[-1])

        noise = self.items.weight.new_zeros(len(batch), self.config.dim)
        self.diffusion.descend(restore, noise, strides=self.config.answer_steps)
        return restored[-1] @ self.items.weight.T

    def _scaled(self, vectors: Tensor) -> Tensor:
        """Vectors `[row, dim]` at the length of targets."""
        return functional.normalize(vectors, dim=1) * self.config.target_length

    def _restore(self, items: Tensor, offsets: Tensor, noisy: Tensor, steps: Tensor) -> Tensor:
        """Packed histories of at most `max_history` items and a noisy vector per row → restored vectors `[row, dim]`."""
        history = self.items(items)
        states = self.encoder(history, offsets) if len(items) else history
        longer = offsets + torch.arange(len(offsets), device=offsets.device)
        ends = longer[1:] - 1
        memory = inserted(states, self.start.expand_as(noisy), longer[:-1])
        tokens = inserted(history, self.read(noisy), ends)
        tokens = self.dropout(tokens + self.places(reversed_positions(longer, tokens=len(tokens))))
        condition = step_embedding(steps, 2 * ((self.config.dim + 1) // 2)).to(tokens.dtype)[row_ids(longer, tokens=len(tokens))]
        plan = Plan.of(longer)
        for block in self.blocks:
            tokens = block(tokens, memory, condition, plan)
        return self.output_norm(tokens[ends])


class ConditionalNorm(nn.Module):
    """Layer norm whose scale and shift are made from a condition; a plain one before training."""

    def __init__(self, dim: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.modulation = nn.Linear(condition, 2 * dim)

    def forward(self, tokens: Tensor, condition: Tensor) -> Tensor:
        """`[token, dim]` and `[token, condition]` → `[token, dim]`."""
        scale, shift = self.modulation(condition).chunk(2, dim=1)
        return self.norm(tokens) * (1 + scale) + shift


class DualConditionBlock(nn.Module):
    """Self-attention over history and noisy target, cross-attention to the memory, feed-forward; each behind a conditional norm."""

    def __init__(self, config: DcRecConfig) -> None:
        super().__init__()
        dim, heads, share = config.dim, config.heads, config.attention_dropout
        self.norms = nn.ModuleList(ConditionalNorm(dim, 2 * ((dim + 1) // 2)) for _ in range(3))
        self.mix = SelfAttention(dim=dim, heads=heads, dropout=share)
        self.look = CrossAttention(dim=dim, heads=heads, dropout=share)
        self.feed_forward = FeedForward(dim=dim, hidden=config.hidden, dropout=config.dropout)
        self.dropout = Dropout(config.dropout)

    def forward(self, tokens: Tensor, memory: Tensor, condition: Tensor, plan: Plan) -> Tensor:
        """Packed tokens and memory `[token, dim]` of equal rows, laid out by `plan`, and the condition of each token."""
        tokens = tokens + self.dropout(self.mix(self.norms[0](tokens, condition), plan))
        tokens = tokens + self.dropout(self.look(self.norms[1](tokens, condition), memory, plan))
        return tokens + self.dropout(self.feed_forward(self.norms[2](tokens, condition)))
