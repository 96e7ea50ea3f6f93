"""What every causal model over packed rows does around its network: training states with their targets, and the state to answer from.

Letters of the shapes: `token` = events of all rows, `row` = rows of the batch, `target` = events that are predicted.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from recsmith.nn.packed import last_index, next_token, tail_index

Encode = Callable[[Tensor, Tensor], Tensor]
"""Index of the tokens to read, int64 `[token]` (never empty), and the offsets of their rows → causal states `[token, dim]`."""


def next_states(encode: Encode, offsets: Tensor, *, tokens: int, longest: int, start: Tensor) -> tuple[Tensor, Tensor]:
    """The state that predicts each event, `[target, dim]`, and the index of that event, int64 `[target]`.

    Only the last `longest + 1` of the `tokens` events of each row take part. `start` `[dim]` predicts the first event of a row.
    """
    kept, offsets = tail_index(offsets, tokens=tokens, length=longest + 1)
    shift = next_token(offsets, tokens=len(kept))
    starts = start.expand(len(shift.firsts), -1)
    if not len(shift.inputs):
        return starts, kept[shift.firsts]
    states = encode(kept[shift.inputs], shift.offsets)
    return torch.cat([states, starts.to(states.dtype)]), kept[torch.cat([shift.targets, shift.firsts])]


def final_states(encode: Encode, offsets: Tensor, *, tokens: int, longest: int, start: Tensor) -> Tensor:
    """The state after the last event of each row, `[row, dim]`, read from its last `longest` events; `start` where a row is empty."""
    kept, offsets = tail_index(offsets, tokens=tokens, length=longest)
    last = last_index(offsets)
    if not len(kept):
        return start.expand(len(last), -1)
    states = encode(kept, offsets)
    return torch.where((last >= 0)[:, None], states[last.clamp(min=0)], start.to(states.dtype))
