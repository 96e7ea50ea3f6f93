"""Windows of packed rows: which events a pass reads, which it predicts, sorted so that equal shapes lie side by side.

Letters: `row` = rows of the batch, `window` = passes, possibly several per row, `event` = events of all rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Targets = Literal["all", "next", "last"]
"""Which events of a row are predicted: all, all but the first, or the last."""


@dataclass(frozen=True)
class Windows:
    """Each window reads `inputs` events from `starts` on and predicts the `targets` events that end one after the last it reads."""

    rows: Tensor
    """Row of each window, int64 `[window]`."""
    starts: Tensor
    """First event read, int64 `[window]`."""
    inputs: Tensor
    """Events read, ascending, int64 `[window]`."""
    targets: Tensor
    """Events predicted; the earliest is at `starts + inputs + 1 - targets`; int64 `[window]`."""
    shapes: list[tuple[int, int, int]]
    """(number of windows, inputs, targets) of each run of windows of equal shape."""

    @classmethod
    def sort(cls, rows: Tensor, starts: Tensor, inputs: Tensor, targets: Tensor) -> Windows:
        """Windows in order of their shape."""
        keys = inputs * (targets.max() + 1 if len(targets) else 1) + targets
        order = keys.argsort(stable=True)
        rows, starts, inputs, targets = rows[order], starts[order], inputs[order], targets[order]
        shapes, counts = torch.stack([inputs, targets], dim=1).unique_consecutive(dim=0, return_counts=True)
        runs = [(count, *shape) for count, shape in zip(counts.tolist(), shapes.tolist(), strict=True)]
        return cls(rows, starts, inputs, targets, runs)

    @classmethod
    def tails(cls, offsets: Tensor, *, longest: int) -> Windows:
        """The last `longest` events of each row `[row + 1]`, to be read only."""
        inputs = offsets.diff().clamp(max=longest)
        rows = torch.arange(len(inputs), device=offsets.device)
        return cls.sort(rows, offsets[1:] - inputs, inputs, torch.zeros_like(inputs))

    @classmethod
    def prefixes(cls, offsets: Tensor, *, longest: int, which: Targets) -> Windows:
        """One window per target, reading up to `longest` events before it."""
        lengths = offsets.diff()
        rows = torch.arange(len(lengths), device=offsets.device).repeat_interleave(lengths)
        places = run_places(lengths)
        chosen = _chosen(places, lengths[rows], which)
        events = chosen.nonzero()[:, 0]
        inputs = places[events].clamp(max=longest)
        return cls.sort(rows[events], events - inputs, inputs, torch.ones_like(inputs))

    @classmethod
    def shared(cls, offsets: Tensor, *, longest: int, which: Targets) -> Windows:
        """Windows of up to `longest` inputs that serve many targets; every chosen event is a target exactly once.

        Rows of more than `longest + 1` events are cut from their end into windows that move by half of `longest`: only their last
        half is predicted there, so that a target has at least that much to look back on.
        """
        lengths = offsets.diff()
        stride = max(1, longest // 2)
        beyond = (lengths - (longest + 1)).clamp(min=0)
        counts = 1 + (beyond + stride - 1) // stride if which != "last" else torch.ones_like(lengths)
        rows = torch.arange(len(lengths), device=offsets.device).repeat_interleave(counts)
        ends = lengths[rows] - run_places(counts) * stride
        begins = (ends - (longest + 1)).clamp(min=0)
        targets = torch.where(begins == 0, ends - int(which == "next"), stride)
        if which == "last":
            targets = ends.clamp(max=1)
        kept = (targets > 0).nonzero()[:, 0]
        return cls.sort(rows[kept], (offsets[rows] + begins)[kept], (ends - begins - 1)[kept], targets[kept])

    def __len__(self) -> int:
        return len(self.rows)

    def input_events(self) -> Tensor:
        """Index of every event read, window after window; int64 `[input]`."""
        return self.starts.repeat_interleave(self.inputs) + run_places(self.inputs)

    def target_events(self) -> Tensor:
        """Index of every event predicted, window after window; int64 `[target]`."""
        first = self.starts + self.inputs + 1 - self.targets
        return first.repeat_interleave(self.targets) + run_places(self.targets)

    def padded(self, packed: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """States `[token, dim]` of windows of `lengths` int64 `[window]` tokens, one window per row, in the order of rows:
        `[row, longest, dim]`, and which of them are real, bool `[row, longest]`."""
        real = torch.arange(int(lengths.max()) if len(lengths) else 0, device=lengths.device) < lengths[:, None]
        states = packed.new_zeros(*real.shape, packed.shape[1])
        states[real] = packed
        order = self.rows.argsort()
        return states[order], real[order]

    def places_of_targets(self) -> Tensor:
        """Place of each target in its window, counted from 1, in the order of `target_events`; int64 `[target]`."""
        first = self.inputs + 2 - self.targets
        return first.repeat_interleave(self.targets) + run_places(self.targets)


def run_places(lengths: Tensor) -> Tensor:
    """0 … length - 1 for each length, laid end to end."""
    ends = lengths.cumsum(0)
    return torch.arange(int(ends[-1]) if len(ends) else 0, device=lengths.device) - (ends - lengths).repeat_interleave(lengths)


def _chosen(places: Tensor, lengths: Tensor, which: Targets) -> Tensor:
    if which == "last":
        return places == lengths - 1
    return places >= (1 if which == "next" else 0)
