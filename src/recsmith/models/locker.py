"""Locker: masked items filled by a transformer some of whose heads see their neighbourhood only (He et al., 2021)."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from recsmith.config import Config
from recsmith.nn.attention import LocalAttention, TransformerBlock
from recsmith.nn.masked_sequence import MaskedSequence, MaskedSequenceConfig


class LockerConfig(MaskedSequenceConfig):
    """Size, masking, regularisation and reach of Locker."""

    local_heads: int = Field(1, ge=1)
    """Heads that see their neighbourhood only; at most `heads`."""
    local: Literal["window", "convolution"] = "convolution"
    """What a local head does: attention inside a window, or a convolution of the values."""
    reach: int = Field(2, ge=1)
    """Events that a local head sees on either side of its own."""

    @model_validator(mode="after")
    def _some_heads_are_local(self) -> Self:
        if self.local_heads > self.heads:
            raise ValueError(f"`local_heads` = {self.local_heads} must be at most `heads` = {self.heads}")
        return self


class Locker(MaskedSequence):
    """BERT4Rec with local heads beside the global ones: short-term dynamics need not be learned by attention over everything.

    Paper: He, Zhao, Lin, Wang, Kale & McAuley, "Locker: Locally Constrained Self-Attentive Sequential Recommendation", CIKM 2021.
    The global heads, the masking and the answer are BERT4Rec's.

    Deviations: two of the paper's five local encoders (the fixed window and the convolution, not the recurrent one and those that learn
    or initialise a soft window); those of `bert4rec`.
    """

    Config: ClassVar[type[Config]] = LockerConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def _block(self, config: LockerConfig) -> TransformerBlock:  # type: ignore[override]
        attention = LocalAttention(
            dim=config.dim,
            heads=config.heads,
            local_heads=config.local_heads,
            local=config.local,
            reach=config.reach,
            dropout=config.attention_dropout,
        )
        return TransformerBlock(
            dim=config.dim, heads=config.heads, hidden=config.hidden, dropout=config.dropout, norm=config.norm, attention=attention
        )
