"""Self-attention, causal or not, and transformer blocks on packed tokens: attention runs in dense blocks, all else without padding."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsmith.nn.dropout import Dropout, dropout
from recsmith.nn.packed import Plan

Norm = Literal["pre", "post"]
_LONGEST_PLAIN = 128


class SelfAttention(nn.Module):
    """Multi-head attention in which a token sees all tokens of its row. `[token, dim]` → `[token, dim]`."""

    def __init__(self, *, dim: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim {dim} does not divide into {heads} heads")
        self.heads = heads
        self.dropout = dropout
        self.project_in = nn.Linear(dim, 3 * dim)
        self.project_out = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, plan: Plan) -> Tensor:
        blocks = plan.pad(self.project_in(tokens))
        return self.project_out(plan.unpad([self._attend(block, self._unseen(plan, number)) for number, block in enumerate(blocks)]))

    def _attend(self, block: Tensor, unseen: Tensor | None) -> Tensor:
        rows, length, width = block.shape
        query, key, value = block.view(rows, length, 3, self.heads, width // (3 * self.heads)).permute(2, 0, 3, 1, 4)
        return self._mix(query, key, value, unseen).transpose(1, 2).reshape(rows, length, width // 3)

    def _unseen(self, plan: Plan, number: int) -> Tensor | None:
        """Which keys are hidden from which queries in block `number`, bool `[rows, 1, 1, length]`; None: the later ones of each query."""
        return ~plan.mask(number)[:, None, None, :]

    def _mix(self, query: Tensor, key: Tensor, value: Tensor, unseen: Tensor | None) -> Tensor:
        """Attention, all `[rows, head, length, width of a head]`."""
        share = self.dropout if self.training else 0.0
        length = query.shape[2]
        if query.device.type != "cpu" or length > _LONGEST_PLAIN:
            seen = None if unseen is None else ~unseen
            return F.scaled_dot_product_attention(query, key, value, attn_mask=seen, is_causal=seen is None, dropout_p=share)
        # for rows this short, torch's CPU kernels cost more than the plain products, above all in the backward pass
        if unseen is None:
            unseen = torch.ones(length, length, dtype=torch.bool).triu_(1)
        weights = (query * query.shape[3] ** -0.5 @ key.transpose(2, 3)).masked_fill(unseen, float("-inf")).softmax(3)
        return dropout(weights, share, training=self.training).to(value.dtype) @ value


class CausalSelfAttention(SelfAttention):
    """The same, but a token sees only itself and what came before it in its row."""

    def _unseen(self, plan: Plan, number: int) -> Tensor | None:
        # padding stands to the right of every true token of its row, so the causal mask hides it and no other mask is needed
        return None


class FeedForward(nn.Module):
    """Two linear layers with GELU between them. `[token, dim]` → `[token, dim]`."""

    def __init__(self, *, dim: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.widen = nn.Linear(dim, hidden)
        self.narrow = nn.Linear(hidden, dim)
        self.dropout = Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.narrow(self.dropout(F.gelu(self.widen(tokens))))


class TransformerBlock(nn.Module):
    """Attention, then feed-forward, each with dropout, a residual path and layer norm before ("pre") or after it ("post")."""

    def __init__(
        self,
        *,
        dim: int,
        heads: int,
        hidden: int,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        norm: Norm = "pre",
        causal: bool = True,
    ) -> None:
        super().__init__()
        self.norm = norm
        self.attention = (CausalSelfAttention if causal else SelfAttention)(dim=dim, heads=heads, dropout=attention_dropout)
        self.feed_forward = FeedForward(dim=dim, hidden=hidden, dropout=dropout)
        self.attention_norm = nn.LayerNorm(dim)
        self.feed_forward_norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)

    def forward(self, tokens: Tensor, plan: Plan) -> Tensor:
        """Packed `[token, dim]` → `[token, dim]`; `plan` is the layout of the same rows."""
        if self.norm == "pre":
            tokens = tokens + self.dropout(self.attention(self.attention_norm(tokens), plan))
            return tokens + self.dropout(self.feed_forward(self.feed_forward_norm(tokens)))
        tokens = self.attention_norm(tokens + self.dropout(self.attention(tokens, plan)))
        return self.feed_forward_norm(tokens + self.dropout(self.feed_forward(tokens)))
