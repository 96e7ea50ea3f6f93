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
        return self._mixed(self.project_in(tokens), plan)

    def _mixed(self, projected: Tensor, plan: Plan) -> Tensor:
        """Packed queries, keys and values `[token, 3 dim]` → `[token, dim]`."""
        blocks = plan.pad(projected)
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


class LocalAttention(SelfAttention):
    """Some heads see all of their row; the last `local_heads` only what is near (He et al., 2021: Locker).

    "window": attention to what lies at most `reach` tokens away. "convolution": no attention, but a learned mixture of the values at each
    distance up to `reach` on both sides.
    """

    def __init__(
        self, *, dim: int, heads: int, local_heads: int, local: Literal["window", "convolution"], reach: int, dropout: float = 0.0
    ) -> None:
        super().__init__(dim=dim, heads=heads, dropout=dropout)
        if not 1 <= local_heads <= heads:
            raise ValueError(f"{local_heads} local heads of {heads} cannot be; at least 1 and at most all")
        self.local_heads, self.reach = local_heads, reach
        width = local_heads * dim // heads
        self.convolution = nn.Conv1d(width, width, 2 * reach + 1, padding=reach, groups=local_heads) if local == "convolution" else None

    def _mix(self, query: Tensor, key: Tensor, value: Tensor, unseen: Tensor | None) -> Tensor:
        assert unseen is not None
        wide, parts = self.heads - self.local_heads, []
        if wide:
            parts.append(super()._mix(query[:, :wide], key[:, :wide], value[:, :wide], unseen))
        if self.convolution is None:
            near = super()._mix(query[:, wide:], key[:, wide:], value[:, wide:], self._far(unseen))
        else:
            real = value[:, wide:].masked_fill(unseen.transpose(2, 3), 0).transpose(2, 3)
            near = self.convolution(real.flatten(1, 2)).view(real.shape).transpose(2, 3)
        return torch.cat([*parts, near.to(value.dtype)], 1)

    def _far(self, unseen: Tensor) -> Tensor:
        """`unseen` and all beyond the reach; everything sees itself, padding too, or it would see nothing."""
        places = torch.arange(unseen.shape[3], device=unseen.device)
        distances = (places[:, None] - places).abs()
        return (unseen | (distances > self.reach)) & (distances > 0)


class CrossAttention(SelfAttention):
    """The same, but queries and what they look at are two packings of equal rows. Twice `[token, dim]` → `[token, dim]`."""

    def forward(self, tokens: Tensor, memory: Tensor, plan: Plan) -> Tensor:  # type: ignore[override]
        width = tokens.shape[1]
        weight, bias = self.project_in.weight, self.project_in.bias
        query = F.linear(tokens, weight[:width], bias[:width])
        both = torch.cat([query, F.linear(memory.to(tokens.dtype), weight[width:], bias[width:]).to(query.dtype)], 1)
        return self._mixed(both, plan)


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
        attention: SelfAttention | None = None,
    ) -> None:
        """`attention` replaces the usual one."""
        super().__init__()
        self.norm = norm
        kind = CausalSelfAttention if causal else SelfAttention
        self.attention = kind(dim=dim, heads=heads, dropout=attention_dropout) if attention is None else attention
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
