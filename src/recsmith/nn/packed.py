"""Packed rows (values laid end to end plus offsets): positions, shifts, and a plan that pads them into a few dense blocks.

Letters of the shapes: `token` = events of all rows, `row` = rows of the batch, `length` = padded length of a block.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

_BLOCK_GROWTH = 1.5  # lengths within this factor share a block: little padding, and few blocks


def row_ids(offsets: Tensor, *, tokens: int) -> Tensor:
    """Row of each token, int64 `[token]`; `tokens` is the total, known to the caller, so that no device has to be asked."""
    rows = torch.arange(len(offsets) - 1, device=offsets.device)
    return rows.repeat_interleave(offsets.diff(), output_size=tokens)


def positions(offsets: Tensor, *, tokens: int) -> Tensor:
    """Place of each token in its row, counted from 0 at the start; int64 `[token]`."""
    return torch.arange(tokens, device=offsets.device) - offsets[:-1][row_ids(offsets, tokens=tokens)]


def reversed_positions(offsets: Tensor, *, tokens: int) -> Tensor:
    """Place of each token in its row, counted from 0 at the end; int64 `[token]`."""
    return offsets[1:][row_ids(offsets, tokens=tokens)] - 1 - torch.arange(tokens, device=offsets.device)


def last_index(offsets: Tensor) -> Tensor:
    """Index of the last token of each row, -1 for empty rows; int64 `[row]`."""
    return torch.where(offsets.diff() > 0, offsets[1:] - 1, -1)


def offsets_from(lengths: Tensor) -> Tensor:
    """Lengths `[row]` → offsets `[row + 1]`."""
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])


def tail_index(offsets: Tensor, *, tokens: int, length: int) -> tuple[Tensor, Tensor]:
    """Index of the last `length` tokens of each row, int64 `[kept]`, and the offsets of what is kept, `[row + 1]`."""
    kept = reversed_positions(offsets, tokens=tokens) < length
    return kept.nonzero().squeeze(1), offsets_from(offsets.diff().clamp(max=length))


def inserted(values: Tensor, more: Tensor, places: Tensor) -> Tensor:
    """`values` `[token, …]` with `more` `[new, …]` put in between, so that these stand at `places` int64 `[new]` of the result."""
    free = torch.ones(len(values) + len(more), dtype=torch.bool, device=values.device)
    free[places] = False
    result = more.new_empty(len(free), *more.shape[1:])
    result[free], result[places] = values.to(more.dtype), more
    return result


def repeated_rows(index: Tensor, offsets: Tensor, times: int) -> tuple[Tensor, Tensor]:
    """Each packed row `times` times in a row: `index` int64 `[token]` → `[times · token]`, and the offsets `[times · row + 1]`."""
    lengths = offsets.diff().repeat_interleave(times)
    longer = offsets_from(lengths)
    total = len(index) * times
    starts = offsets[:-1].repeat_interleave(times)
    places = torch.arange(total, device=offsets.device) - (longer[:-1] - starts)[row_ids(longer, tokens=total)]
    return index[places], longer


@dataclass(frozen=True)
class NextToken:
    """Which tokens are inputs and which are their targets when every token of a row is to predict the one after it."""

    inputs: Tensor
    """Index of each input: all tokens but the last of each row; int64 `[input]`."""
    targets: Tensor
    """Index of the token that follows each input; int64 `[input]`."""
    firsts: Tensor
    """Index of the first token of each row that is not empty; int64 `[row that is not empty]`."""
    offsets: Tensor
    """Offsets of the inputs, int64 `[row + 1]`."""


def next_token(offsets: Tensor, *, tokens: int) -> NextToken:
    """The training positions of a causal model on these rows."""
    lengths = offsets.diff()
    is_last = torch.zeros(tokens, dtype=torch.bool, device=offsets.device)
    is_last[(offsets[1:] - 1)[lengths > 0]] = True
    inputs = (~is_last).nonzero().squeeze(1)
    return NextToken(inputs, inputs + 1, offsets[:-1][lengths > 0], offsets_from((lengths - 1).clamp(min=0)))


@dataclass(frozen=True)
class TimeMajor:
    """Packed tokens ordered as a recurrent network reads them: first tokens of all rows, longest row first, then second ones, …"""

    index: Tensor
    """Token at each place, int64 `[token]`."""
    back: Tensor
    """Place of each token, int64 `[token]`."""
    batch_sizes: Tensor
    """Rows that are still running at each time, int64 `[longest row]`, in main memory as `PackedSequence` wants it."""

    @classmethod
    def of(cls, offsets: Tensor) -> TimeMajor:
        """The order for the rows of `offsets` `[row + 1]`; empty rows take no place."""
        starts = offsets.cpu().numpy()
        lengths = np.diff(starts)
        rank = np.empty(len(lengths), dtype=np.int64)
        rank[np.argsort(-lengths, kind="stable")] = np.arange(len(lengths))
        place = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)
        index = np.lexsort((np.repeat(rank, lengths), place))
        back = np.empty_like(index)
        back[index] = np.arange(len(index))
        device = offsets.device
        return cls(torch.from_numpy(index).to(device), torch.from_numpy(back).to(device), torch.from_numpy(np.bincount(place)))


@dataclass(frozen=True)
class Plan:
    """How packed tokens are laid out in dense blocks of rows of similar length, padded on the right. Made once per batch.

    Attention, which needs rows side by side, runs on the blocks; everything that works token by token stays packed.
    """

    index: Tensor
    """Token at each place of the blocks, laid end to end; padding repeats the row's last token. int64 `[place]`."""
    back: Tensor
    """Place of each token, int64 `[token]`."""
    shapes: tuple[tuple[int, int], ...]
    """(rows, length) of each block."""
    rows: tuple[Tensor, ...]
    """Row of the batch behind each row of each block; empty rows are in no block. int64 `[rows of the block]` each."""
    lengths: tuple[Tensor, ...]
    """True length of each row of each block; int64 `[rows of the block]` each."""

    @classmethod
    def of(cls, offsets: Tensor) -> Plan:
        """Group the rows of `offsets` `[row + 1]` into blocks whose lengths differ by less than half."""
        starts = offsets.cpu().numpy()
        lengths = np.diff(starts)
        order = np.argsort(lengths, kind="stable")
        order = order[lengths[order] > 0]
        sizes = lengths[order]
        cuts = _cuts(sizes)
        index, rows, kept, shapes, back = [], [], [], [], np.empty(starts[-1], dtype=np.int64)
        done = 0
        for first, last in pairwise(cuts):
            members, length = order[first:last], int(sizes[last - 1])
            place = np.arange(length)
            tokens = starts[members][:, None] + np.minimum(place, lengths[members][:, None] - 1)
            inside = place < lengths[members][:, None]
            back[tokens[inside]] = done + inside.reshape(-1).nonzero()[0]
            done += tokens.size
            index.append(tokens.reshape(-1))
            rows.append(torch.from_numpy(members).to(offsets.device))
            kept.append(torch.from_numpy(lengths[members]).to(offsets.device))
            shapes.append((len(members), length))
        flat = np.concatenate(index) if index else np.zeros(0, dtype=np.int64)
        return cls(
            torch.from_numpy(flat).to(offsets.device),
            torch.from_numpy(back).to(offsets.device),
            tuple(shapes),
            tuple(rows),
            tuple(kept),
        )

    def pad(self, values: Tensor) -> list[Tensor]:
        """Packed `[token, …]` → one `[rows, length, …]` per block."""
        places = values.index_select(0, self.index)
        parts = places.split([rows * length for rows, length in self.shapes])
        return [part.view(*shape, *values.shape[1:]) for part, shape in zip(parts, self.shapes, strict=True)]

    def unpad(self, blocks: list[Tensor]) -> Tensor:
        """One `[rows, length, …]` per block → packed `[token, …]`; what stands at padding is dropped."""
        return torch.cat([block.flatten(0, 1) for block in blocks]).index_select(0, self.back)

    def mask(self, block: int) -> Tensor:
        """Where block number `block` holds true tokens, bool `[rows, length]`."""
        _, length = self.shapes[block]
        return torch.arange(length, device=self.index.device) < self.lengths[block][:, None]


def _cuts(sizes: np.ndarray) -> list[int]:
    """Borders of the blocks in ascending `sizes`: a block ends before the first row that is `_BLOCK_GROWTH` times its first."""
    cuts = [0]
    while cuts[-1] < len(sizes):
        limit = max(sizes[cuts[-1]] * _BLOCK_GROWTH, sizes[cuts[-1]] + 1)
        cuts.append(int(np.searchsorted(sizes, limit, side="right")))
    return cuts
