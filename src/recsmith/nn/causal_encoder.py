"""The trunk that many models of order share: positions, dropout and causal transformer blocks on packed vectors (Kang & McAuley, 2018)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.nn.attention import Norm, TransformerBlock
from recsmith.nn.dropout import Dropout
from recsmith.nn.packed import Plan, positions, reversed_positions


class CausalEncoderConfig(Config):
    """Size and regularisation of a causal transformer over a history; models add their own settings to these."""

    dim: int = Field(64, ge=1)
    """Width of item vectors and hidden states."""
    layers: int = Field(2, ge=1)
    """Transformer blocks."""
    heads: int = Field(2, ge=1)
    """Attention heads; must divide `dim`."""
    hidden: int = Field(256, ge=1)
    """Width of the feed-forward layers."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Share of values dropped, in the input and the two parts of each block."""
    attention_dropout: float = Field(0.0, ge=0, lt=1)
    """Share of attention weights dropped."""
    max_history: int = Field(50, ge=1)
    """Events of a history that are read, counted from its end."""
    positions: Literal["start", "end"] = "start"
    """From which end of the history the learned positions count."""
    norm: Norm = "post"
    """Layer norm before or after each part of a block."""
    init_std: float = Field(0.02, gt=0)
    """Standard deviation of the initial weights."""

    @model_validator(mode="after")
    def _heads_divide(self) -> CausalEncoderConfig:
        if self.dim % self.heads:
            raise ValueError(f"`dim` = {self.dim} must be a multiple of `heads` = {self.heads}")
        return self


class CausalEncoder(nn.Module):
    """Vectors of packed events `[token, dim]` → states `[token, dim]`, each of which has seen its own row up to itself."""

    def __init__(self, config: CausalEncoderConfig, *, dim: int | None = None) -> None:
        """`dim` is the width where it is not the config's."""
        super().__init__()
        dim = dim or config.dim
        self.count = reversed_positions if config.positions == "end" else positions
        self.positions = nn.Embedding(config.max_history, dim)
        self.input_norm = nn.LayerNorm(dim) if config.norm == "post" else nn.Identity()
        self.output_norm = nn.LayerNorm(dim) if config.norm == "pre" else nn.Identity()
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(
                dim=dim,
                heads=config.heads,
                hidden=config.hidden,
                dropout=config.dropout,
                attention_dropout=config.attention_dropout,
                norm=config.norm,
            )
            for _ in range(config.layers)
        )

    def forward(self, tokens: Tensor, offsets: Tensor) -> Tensor:
        """`tokens` of at least one event; rows of at most `max_history`."""
        tokens = self.dropout(self.input_norm(tokens + self.positions(self.count(offsets, tokens=len(tokens)))))
        plan = Plan.of(offsets)
        for block in self.blocks:
            tokens = block(tokens, plan)
        return self.output_norm(tokens)


def initialise_normal(module: nn.Module, *, std: float) -> None:
    """Normal weights for linear layers and tables, zero biases; for `Module.apply`."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=std)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
