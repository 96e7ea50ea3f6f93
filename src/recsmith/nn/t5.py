"""Blocks of a T5 stack (Raffel et al., 2020): unscaled attention, learned biases by relative position, RMS norms, ReLU.

Letters: `n` = tokens of all rows laid end to end, `q` and `s` = queries and keys of one row, `d` = width of the stack.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from recsmith.nn.dropout import Dropout, relu_dropout
from recsmith.nn.dropout import dropout as drop
from recsmith.nn.norm import RMSNorm
from recsmith.nn.windows import Windows


def relative_buckets(distance: Tensor, *, buckets: int, furthest: int, bidirectional: bool) -> Tensor:
    """Bucket of each `key position - query position`, any shape: one per small distance, logarithmic up to `furthest`.

    With `bidirectional`, half of the buckets are for keys after the query; without, all such keys fall into bucket 0.
    """
    offset = torch.zeros_like(distance)
    if bidirectional:
        buckets //= 2
        offset = (distance > 0) * buckets
        distance = distance.abs()
    else:
        distance = (-distance).clamp(min=0)
    exact = buckets // 2
    share = torch.log(distance.clamp(min=1).float() / exact) / math.log(furthest / exact)
    far = exact + (share * (buckets - exact)).to(torch.int64)
    return offset + torch.where(distance < exact, distance, far.clamp(max=buckets - 1))


class RelativeBias(nn.Module):
    """An additive attention bias per head and relative position, shared by all layers of a stack."""

    def __init__(self, heads: int, *, buckets: int, furthest: int, bidirectional: bool, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(buckets, heads).normal_(std=dim**-0.5))
        self.furthest, self.bidirectional = furthest, bidirectional

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Positions `[q]` and `[s]` below the larger of q and s → bias `[head, q, s]`, float32."""
        most = max(len(queries), len(keys))
        apart = torch.arange(-most, most, device=keys.device)
        bucket = relative_buckets(apart, buckets=len(self.weight), furthest=self.furthest, bidirectional=self.bidirectional)
        distance = keys[None, :] - queries[:, None]
        return functional.embedding(bucket[distance + most], self.weight).permute(2, 0, 1)


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, dropout: float) -> Tensor:
    """Unscaled attention: `[…, head, q, h]` on `[…, head, s, h]` → `[…, head, q, h]`; `bias` broadcasts to `[…, head, q, s]`.

    Weights are computed in float32. `dropout` is the probability with which a weight is dropped (0 outside training).
    """
    if dropout == 0.0 and query.dtype == torch.float32 and query.device.type == "cpu" and not torch.is_grad_enabled():
        mask = bias if bias is None or bias.dim() == 4 else bias[None]
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=1.0)
    # contiguous copies first: torch would copy the transposed views element by element
    scores = query.contiguous() @ key.contiguous().transpose(-1, -2)
    if bias is not None:
        scores = scores + bias
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(value.dtype)
    return drop(weights, dropout, training=True) @ value


class FeedForward(nn.Module):
    """Norm, widen, ReLU, narrow; the residual is added. `[…, d]` → `[…, d]`."""

    def __init__(self, dim: int, ff_dim: int, *, dropout: float) -> None:
        super().__init__()
        self.norm = RMSNorm(dim)
        self.widen = linear(dim, ff_dim, std=dim**-0.5)
        self.narrow = linear(ff_dim, dim, std=ff_dim**-0.5)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        hidden = relu_dropout(self.widen(self.norm(x)), self.dropout.p, training=self.training)
        return x + self.dropout(self.narrow(hidden))


class SelfAttention(nn.Module):
    """Norm and projections of self-attention; who attends to whom is the caller's business."""

    def __init__(self, dim: int, *, heads: int, head_dim: int, dropout: float) -> None:
        super().__init__()
        self.shape = (heads, head_dim)
        self.norm = RMSNorm(dim)
        self.qkv = linear(dim, 3 * heads * head_dim, std=dim**-0.5)
        with torch.no_grad():
            self.qkv.weight[: heads * head_dim] *= head_dim**-0.5
        self.out = linear(heads * head_dim, dim, std=(heads * head_dim) ** -0.5)
        self.dropout = Dropout(dropout)

    def project(self, x: Tensor) -> Tensor:
        """`[…, d]` → queries, keys and values `[…, 3, head, h]`."""
        return self.qkv(self.norm(x)).unflatten(-1, (3, *self.shape))

    def close(self, x: Tensor, mixed: Tensor) -> Tensor:
        """Residual plus the mixed values `[…, head, h]`."""
        return x + self.dropout(self.out(mixed.flatten(-2)))


class CrossAttention(nn.Module):
    """Norm and projections of attention to another stack's states."""

    def __init__(self, dim: int, *, heads: int, head_dim: int, dropout: float) -> None:
        super().__init__()
        self.shape = (heads, head_dim)
        self.norm = RMSNorm(dim)
        self.q = linear(dim, heads * head_dim, std=(dim * head_dim) ** -0.5)
        self.kv = linear(dim, 2 * heads * head_dim, std=dim**-0.5)
        self.out = linear(heads * head_dim, dim, std=(heads * head_dim) ** -0.5)
        self.dropout = Dropout(dropout)

    def queries(self, x: Tensor) -> Tensor:
        """`[…, d]` → `[…, head, h]`."""
        return self.q(self.norm(x)).unflatten(-1, self.shape)

    def memory(self, states: Tensor) -> Tensor:
        """Encoder states `[…, d]` → keys and values `[…, 2, head, h]`."""
        return self.kv(states).unflatten(-1, (2, *self.shape))

    def close(self, x: Tensor, mixed: Tensor) -> Tensor:
        """Residual plus the mixed values `[…, head, h]`."""
        return x + self.dropout(self.out(mixed.flatten(-2)))


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward."""

    def __init__(self, dim: int, *, heads: int, head_dim: int, ff_dim: int, dropout: float) -> None:
        super().__init__()
        self.attention = SelfAttention(dim, heads=heads, head_dim=head_dim, dropout=dropout)
        self.feed_forward = FeedForward(dim, ff_dim, dropout=dropout)


class DecoderLayer(nn.Module):
    """Self-attention, attention to the encoder, feed-forward."""

    def __init__(self, dim: int, *, heads: int, head_dim: int, ff_dim: int, dropout: float) -> None:
        super().__init__()
        self.attention = SelfAttention(dim, heads=heads, head_dim=head_dim, dropout=dropout)
        self.cross = CrossAttention(dim, heads=heads, head_dim=head_dim, dropout=dropout)
        self.feed_forward = FeedForward(dim, ff_dim, dropout=dropout)


def linear(inputs: int, outputs: int, *, std: float) -> nn.Linear:
    """A linear map without bias whose weights are drawn with standard deviation `std`."""
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(layer.weight, std=std)
    return layer


@dataclass(frozen=True)
class Run:
    """A run of rows of equal shape that lie next to each other in packed tensors."""

    rows: int
    length: int
    """Encoder tokens of each row."""
    queries: int = 0
    """Decoder tokens of each row."""
    visible: Tensor | None = None
    """Which encoder tokens each decoder token may see, bool `[queries, length]`; None = all."""


def runs_of(windows: Windows, *, tokens: int = 1, queries: int = 0) -> list[Run]:
    """Shapes of windows that are read as a first token and `tokens` per event, and write `queries` tokens per target.

    Target t of a window sees the first token and the events before t.
    """
    runs = []
    for rows, inputs, targets in windows.shapes:
        visible = None
        if queries and targets > 1:
            events = torch.arange(inputs + 1 - targets, inputs + 1, device=windows.rows.device).repeat_interleave(queries)
            visible = torch.arange(1 + inputs * tokens, device=events.device) < 1 + events[:, None] * tokens
        runs.append(Run(rows, 1 + inputs * tokens, targets * queries, visible))
    return runs


class Encoder(nn.Module):
    """A stack of encoder layers over packed rows: attention runs once per run of equal lengths, all else on all tokens at once."""

    def __init__(self, layers: Sequence[EncoderLayer], bias: RelativeBias, *, dim: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.bias = bias
        self.norm = RMSNorm(dim)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, runs: Sequence[Run], visible: Tensor | None) -> Tensor:
        """Embedded tokens `[n, d]` → states `[n, d]`. `visible` `[s, s]` says which keys each query sees; None = all of its row."""
        places = torch.arange(max((run.length for run in runs), default=0), device=x.device)
        bias = self.bias(places, places)
        if visible is not None:
            bias = bias.masked_fill(~visible[: len(places), : len(places)], -torch.inf)
        x = self.dropout(x)
        for layer in cast("list[EncoderLayer]", self.layers):
            x = layer.attention.close(x, self._mix(layer.attention.project(x), runs, bias))
            x = layer.feed_forward(x)
        return self.dropout(self.norm(x))

    def _mix(self, qkv: Tensor, runs: Sequence[Run], bias: Tensor) -> Tensor:
        dropout = self.dropout.p if self.training else 0.0
        mixed = []
        for run, part in zip(runs, qkv.split([run.rows * run.length for run in runs]), strict=True):
            query, key, value = part.view(run.rows, run.length, *part.shape[1:]).permute(2, 0, 3, 1, 4)
            out = attend(query, key, value, bias[:, : run.length, : run.length], dropout)
            mixed.append(out.transpose(1, 2).flatten(0, 1))
        return torch.cat(mixed) if mixed else qkv[:, 0]


@dataclass(frozen=True)
class DecoderState:
    """What a decoder keeps between levels; functional: a step returns a new one."""

    memory: list[tuple[Tensor, Tensor]]
    """Per layer, keys and values of the encoder states `[batch, head, s, h]`: one per row, shared by its beams."""
    hidden: Tensor | None
    """Additive mask of padding `[batch, 1, 1, s]`; None when all rows are equally long."""
    past: list[Tensor]
    """Per layer, keys and values of the codes so far `[batch, beam, level, 2, head, h]`; empty before the first."""


class Decoder(nn.Module):
    """A stack of decoder layers: in training on all targets at once, in search level by level with its past kept."""

    def __init__(self, layers: Sequence[DecoderLayer], bias: RelativeBias, *, dim: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.bias = bias
        self.norm = RMSNorm(dim)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, states: Tensor, runs: Sequence[Run]) -> Tensor:
        """Embedded targets `[target, level, d]` and encoder states `[n, d]`, both in the order of `runs` → `[target, level, d]`."""
        places = torch.arange(x.shape[1], device=x.device)
        later = places[None, :] > places[:, None]
        bias = self.bias(places, places).masked_fill(later, -torch.inf)
        dropout = self.dropout.p if self.training else 0.0
        x = self.dropout(x)
        for layer in cast("list[DecoderLayer]", self.layers):
            query, key, value = layer.attention.project(x).permute(2, 0, 3, 1, 4)
            x = layer.attention.close(x, attend(query, key, value, bias, dropout).transpose(1, 2))
            mixed = self._look_up(layer.cross.queries(x).flatten(0, 1), layer.cross.memory(states), runs)
            x = layer.cross.close(x, mixed.view(*x.shape[:2], *mixed.shape[1:]))
            x = layer.feed_forward(x)
        return self.dropout(self.norm(x))

    def _look_up(self, queries: Tensor, memory: Tensor, runs: Sequence[Run]) -> Tensor:
        dropout = self.dropout.p if self.training else 0.0
        query_parts = queries.split([run.rows * run.queries for run in runs])
        memory_parts = memory.split([run.rows * run.length for run in runs])
        mixed = []
        for run, asked, stored in zip(runs, query_parts, memory_parts, strict=True):
            query = asked.view(run.rows, run.queries, *asked.shape[1:]).transpose(1, 2)
            key, value = stored.view(run.rows, run.length, *stored.shape[1:]).permute(2, 0, 3, 1, 4)
            bias = None if run.visible is None else _additive(run.visible)
            mixed.append(attend(query, key, value, bias, dropout).transpose(1, 2).flatten(0, 1))
        return torch.cat(mixed)

    def start(self, states: Tensor, real: Tensor) -> DecoderState:
        """Read padded encoder states `[batch, s, d]`; `real` `[batch, s]` is false at padding."""
        memory = []
        for layer in cast("list[DecoderLayer]", self.layers):
            read = layer.cross.memory(states)
            # products in bfloat16 gain from many rows only; a single one is looked up in float32, in one call
            key, value = (read.float() if len(states) == 1 else read).permute(2, 0, 3, 1, 4)
            memory.append((key.contiguous(), value.contiguous()))
        return DecoderState(memory, None if bool(real.all()) else _additive(real)[:, None, None, :], [])

    def step(self, x: Tensor, state: DecoderState, parents: Tensor | None) -> tuple[Tensor, DecoderState]:
        """One code further: embedded last codes `[batch, beam, d]` → `[batch, beam, d]`; `parents` `[batch, beam]` reorders the past."""
        bias = self._past_bias(1 + state.past[0].shape[2] if state.past else 1)
        inherit = _inheritance(state.past, parents)
        past: list[Tensor] = []
        for number, layer in enumerate(cast("list[DecoderLayer]", self.layers)):
            projected = layer.attention.project(x).float()
            written = projected[:, :, None, 1:]
            past.append(written if inherit is None else torch.cat([inherit(state.past[number]), written], dim=2))
            x = layer.attention.close(x, _mix_past(projected[:, :, 0], past[-1], bias))
            asked = layer.cross.queries(x).to(state.memory[number][0].dtype).transpose(1, 2)
            x = layer.cross.close(x, attend(asked, *state.memory[number], state.hidden, 0.0).transpose(1, 2))
            x = layer.feed_forward(x)
        return self.norm(x), DecoderState(state.memory, state.hidden, past)

    def _past_bias(self, length: int) -> Tensor:
        places = torch.arange(length, device=self.bias.weight.device)
        return self.bias(places[-1:], places)[:, 0].T


class StackSizes(Protocol):
    """What a model's settings say about its stacks."""

    @property
    def dim(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...
    @property
    def ff_dim(self) -> int: ...
    @property
    def dropout(self) -> float: ...
    @property
    def encoder_layers(self) -> int: ...
    @property
    def decoder_layers(self) -> int: ...
    @property
    def position_buckets(self) -> int: ...
    @property
    def position_distance(self) -> int: ...


def build_encoder(sizes: StackSizes, *, bidirectional: bool) -> Encoder:
    """An untrained encoder; `bidirectional` says whether its biases tell keys after the query from those before."""
    layers = [EncoderLayer(sizes.dim, **_shape(sizes)) for _ in range(sizes.encoder_layers)]
    return Encoder(layers, _bias(sizes, bidirectional=bidirectional), dim=sizes.dim, dropout=sizes.dropout)


def build_decoder(sizes: StackSizes) -> Decoder:
    """An untrained decoder."""
    layers = [DecoderLayer(sizes.dim, **_shape(sizes)) for _ in range(sizes.decoder_layers)]
    return Decoder(layers, _bias(sizes, bidirectional=False), dim=sizes.dim, dropout=sizes.dropout)


def _shape(sizes: StackSizes) -> dict[str, Any]:
    return {"heads": sizes.heads, "head_dim": sizes.head_dim, "ff_dim": sizes.ff_dim, "dropout": sizes.dropout}


def _bias(sizes: StackSizes, *, bidirectional: bool) -> RelativeBias:
    buckets, furthest = sizes.position_buckets, sizes.position_distance
    return RelativeBias(sizes.heads, buckets=buckets, furthest=furthest, bidirectional=bidirectional, dim=sizes.dim)


def _mix_past(query: Tensor, past: Tensor, bias: Tensor) -> Tensor:
    """Queries `[batch, beam, head, h]` on `[batch, beam, level, 2, head, h]` with bias `[level, head]` → `[batch, beam, head, h]`.

    A handful of keys each, so plain sums beat products.
    """
    keys, values = past.unbind(3)
    if keys.shape[2] == 1:
        return values[:, :, 0]
    weights = (query[:, :, None] * keys).sum(-1).add_(bias).softmax(dim=2)
    return (weights[..., None] * values).sum(2)


def _inheritance(past: Sequence[Tensor], parents: Tensor | None) -> Callable[[Tensor], Tensor] | None:
    """What takes each layer's past `[batch, beam, …]` to `parents` `[batch, new beam]`; None where there is none."""
    if parents is None or not past:
        return None
    rows, beams = past[0].shape[:2]
    if beams == 1:
        return lambda stored: stored.expand(-1, parents.shape[1], *stored.shape[2:])
    places = (torch.arange(rows, device=parents.device)[:, None] * beams + parents).flatten()
    return lambda stored: stored.flatten(0, 1).index_select(0, places).unflatten(0, parents.shape)


def _additive(visible: Tensor) -> Tensor:
    return torch.zeros(visible.shape, device=visible.device).masked_fill_(~visible, -torch.inf)
