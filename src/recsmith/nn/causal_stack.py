"""A decoder-only stack: in training on packed rows, in search one token at a time with keys and values kept.

Letters of the shapes: `token` = tokens of all rows, `batch` = rows, `beam` = hypotheses per row, `level` = tokens written since the
history was read, `head` and `h` = heads and their width, `s` = longest row, `d` = width of the stack.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from recsmith.nn.attention import Norm, TransformerBlock
from recsmith.nn.packed import Plan, last_index, positions, row_ids


@dataclass(frozen=True)
class CausalState:
    """What has been read and written; functional: a step returns a new one."""

    memory: list[Tensor]
    """Per block, keys and values of the history `[batch, s, 2, head, h]`: one per row, shared by its beams."""
    real: Tensor
    """False at padding, bool `[batch, s]`."""
    past: list[Tensor]
    """Per block, keys and values of what was written `[batch, beam, level, 2, head, h]`."""


class CausalStack(nn.Module):
    """Transformer blocks in which every token sees itself and what came before it in its row."""

    def __init__(
        self,
        *,
        dim: int,
        layers: int,
        heads: int,
        hidden: int,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        norm: Norm = "pre",
    ) -> None:
        super().__init__()
        self.heads = heads
        self.blocks = nn.ModuleList(
            TransformerBlock(dim=dim, heads=heads, hidden=hidden, dropout=dropout, attention_dropout=attention_dropout, norm=norm)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dim) if norm == "pre" else nn.Identity()

    def forward(self, tokens: Tensor, offsets: Tensor) -> Tensor:
        """Packed `[token, d]` → states `[token, d]`."""
        plan = Plan.of(offsets)
        for block in self.blocks:
            tokens = block(tokens, plan)
        return self.norm(tokens)

    def start(self, tokens: Tensor, offsets: Tensor) -> tuple[Tensor, CausalState]:
        """Read rows of at least one token each: the states of their last tokens, `[batch, d]`, and what search needs of the others."""
        plan, lengths = Plan.of(offsets), offsets.diff()
        places = torch.arange(int(lengths.max()) if len(lengths) else 0, device=tokens.device)
        memory = []
        for block in self._blocks():
            packed = block.attention.project_in(_entering(block, tokens)).view(len(tokens), 3, self.heads, -1)
            padded = packed.new_zeros(len(lengths), len(places), 2, *packed.shape[2:])
            padded[row_ids(offsets, tokens=len(tokens)), positions(offsets, tokens=len(tokens))] = packed[:, 1:]
            memory.append(padded)
            tokens = block(tokens, plan)
        return self.norm(tokens[last_index(offsets)]), CausalState(memory, places < lengths[:, None], [])

    def step(self, tokens: Tensor, state: CausalState, parents: Tensor | None) -> tuple[Tensor, CausalState]:
        """One token further: `[batch, beam, d]` → states `[batch, beam, d]`; `parents` int64 `[batch, beam]` reorders what was written."""
        past = []
        for number, block in enumerate(self._blocks()):
            query, *new = block.attention.project_in(_entering(block, tokens)).unflatten(2, (3, self.heads, -1)).unbind(2)
            written = torch.stack(new, 2)[:, :, None]
            if state.past:
                written = torch.cat([_follow(state.past[number], parents), written], 2)
            past.append(written)
            mixed = _mix(query, state.memory[number], state.real, written)
            tokens = _leaving(block, tokens, block.attention.project_out(mixed.flatten(2)))
        return self.norm(tokens), CausalState(state.memory, state.real, past)

    def _blocks(self) -> list[TransformerBlock]:
        return cast("list[TransformerBlock]", list(self.blocks))


def _entering(block: TransformerBlock, tokens: Tensor) -> Tensor:
    return block.attention_norm(tokens) if block.norm == "pre" else tokens


def _leaving(block: TransformerBlock, tokens: Tensor, attended: Tensor) -> Tensor:
    """What a block makes of its input and the result of its attention (dropout is off in search)."""
    tokens = tokens + attended
    if block.norm == "pre":
        return tokens + block.feed_forward(block.feed_forward_norm(tokens))
    tokens = block.attention_norm(tokens)
    return block.feed_forward_norm(tokens + block.feed_forward(tokens))


def _follow(past: Tensor, parents: Tensor | None) -> Tensor:
    """`[batch, beam, …]` by `parents` `[batch, new beam]`."""
    if parents is None:
        return past
    return past[torch.arange(len(past), device=past.device)[:, None], parents]


def _mix(query: Tensor, memory: Tensor, real: Tensor, written: Tensor) -> Tensor:
    """Attention of `[batch, beam, head, h]` to the history and to what the same beam wrote."""
    query = query * query.shape[3] ** -0.5
    to_memory = torch.einsum("bqhd,bshd->bqhs", query, memory[:, :, 0]).masked_fill(~real[:, None, None], -torch.inf)
    to_written = torch.einsum("bqhd,bqlhd->bqhl", query, written[:, :, :, 0])
    weights = torch.cat([to_memory, to_written], 3).softmax(3, dtype=torch.float32).to(query.dtype)
    of_memory, of_written = weights.split([memory.shape[1], written.shape[2]], 3)
    mixed = torch.einsum("bqhs,bshd->bqhd", of_memory, memory[:, :, 1])
    return mixed + torch.einsum("bqhl,bqlhd->bqhd", of_written, written[:, :, :, 1])
