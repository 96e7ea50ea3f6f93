"""What every causal model over packed rows does around its network: training states with their targets, and the state to answer from.

Letters of the shapes: `token` = events of all rows, `row` = rows of the batch, `target` = events that are predicted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from recsmith.nn.packed import last_index, next_token, offsets_from, positions, row_ids, tail_index
from recsmith.protocols import HistoryBatch

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


def random_prefixes(offsets: Tensor, *, tokens: int, longest: int) -> tuple[Tensor, Tensor, Tensor]:
    """A target per row that is not empty, drawn from its last `longest + 1` events, and the events before it that are within reach.

    Returns the index of each target int64 `[target]`, the index of the events before them int64 `[kept]`, and the latter's offsets
    `[target + 1]`. Draws from torch's default generator.
    """
    kept, offsets = tail_index(offsets, tokens=tokens, length=longest + 1)
    lengths = offsets.diff()[offsets.diff() > 0]
    offsets = offsets_from(lengths)
    cut = (torch.rand(len(lengths), device=offsets.device) * lengths).floor().long()
    before = positions(offsets, tokens=len(kept)) < cut[row_ids(offsets, tokens=len(kept))]
    return kept[offsets[:-1] + cut], kept[before], offsets_from(cut)


class NextStep(nn.Module):
    """A causal model that reads the last `config.max_history` events and answers empty rows from the vector `start`."""

    config: Any
    start: Tensor

    def next_states(self, encode: Encode, batch: HistoryBatch) -> tuple[Tensor, Tensor]:
        """The state that predicts each event of the batch, `[target, dim]`, and the index of that event, int64 `[target]`."""
        return next_states(encode, batch.offsets, tokens=len(batch.items), longest=self.config.max_history, start=self.start)

    def final_states(self, encode: Encode, batch: HistoryBatch) -> Tensor:
        """The state after the last event of each row, `[row, dim]`."""
        return final_states(encode, batch.offsets, tokens=len(batch.items), longest=self.config.max_history, start=self.start)
