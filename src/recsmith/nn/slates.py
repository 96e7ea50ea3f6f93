"""Slates of a log and what people did with them: cutting rows of events into slates, and reading what came before each.

Letters of the shapes: `token` = events of all rows, `row` = rows of the batch, `slate` = slates of all rows, `size` = slots of a slate.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.errors import DataError
from recsmith.nn.dropout import Dropout
from recsmith.nn.packed import offsets_from, positions, row_ids, tail_index
from recsmith.nn.recurrent import PackedGru
from recsmith.protocols import HistoryBatch


class SlateConfig(Config):
    """What a slate of the log is, and how the history before it is read; slate models add their own settings to these."""

    slate: int = Field(5, ge=1)
    """Slots of a slate in training; longer slates of the log are cut into several. Answers may have another size."""
    gap: float | None = Field(None, ge=0)
    """Seconds without an event after which a new slate begins: 0 for baskets and logged pages (events of one time), 1800 for sessions;
    none cuts a history into windows of `slate` events whatever their times."""
    click: float = 1.0
    """Least weight (rating) of an event that counts as a click; in a log without weights all events are clicks."""
    dim: int = Field(64, ge=1)
    """Width of item vectors and of the state of a history."""
    hidden: int = Field(128, ge=1)
    """Width of the recurrent state and of hidden layers."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Share of values dropped in what is read of a history."""
    max_history: int = Field(50, ge=1)
    """Clicks of a history that are read, counted from its end."""
    init_std: float = Field(0.02, gt=0)
    """Standard deviation of the initial item vectors."""


@dataclass(frozen=True)
class Slates:
    """Slates cut out of packed rows, in the order of their events."""

    rows: Tensor
    """Row of each slate, int64 `[slate]`."""
    starts: Tensor
    """First event of each slate, int64 `[slate]`."""
    items: Tensor
    """What stood in each slot, int64 `[slate, size]`; -1 in the empty slots at the end of a shorter slate."""
    clicks: Tensor
    """1 where an item was clicked, else 0; float32 `[slate, size]`."""

    def __len__(self) -> int:
        return len(self.starts)

    def take(self, which: Tensor) -> Slates:
        """Some of the slates, by index, in the given order."""
        return Slates(self.rows[which], self.starts[which], self.items[which], self.clicks[which])

    @property
    def filled(self) -> Tensor:
        """Which slots hold an item, bool `[slate, size]`."""
        return self.items >= 0

    def whole(self, size: int) -> Tensor:
        """Which slates hold an item in each of their first `size` slots and none of these twice, bool `[slate]`."""
        ordered = self.items[:, :size].sort(1).values
        return self.filled[:, :size].all(1) & (ordered.diff(dim=1) != 0).all(1)


def cut_slates(items: Tensor, clicks: Tensor, breaks: Tensor, offsets: Tensor, *, size: int, phase: Tensor | None = None) -> Slates:
    """Slates of at most `size` events: one begins with each row, at each break (bool `[token]`), and when one is full.

    `clicks` float32 `[token]`. `phase` (int64 `[row]`, below `size`) shortens what begins a row or follows a break by so many slots, so
    that windows of a long row begin elsewhere.
    """
    rows = row_ids(offsets, tokens=len(items))
    breaks = breaks | (positions(offsets, tokens=len(items)) == 0)
    index = torch.arange(len(items), device=items.device)
    begun = torch.where(breaks, index, 0).cummax(0).values if len(items) else index
    place = index - begun
    if phase is not None:
        place = place + phase[rows]
    starts = (breaks | (place % size == 0)).nonzero()[:, 0]
    lengths = torch.cat([starts[1:], starts.new_full((1,), len(items))]) - starts
    slots = torch.arange(size, device=items.device)
    there = slots < lengths[:, None]
    event = (starts[:, None] + slots).clamp(max=max(len(items) - 1, 0))
    if not len(items):
        return Slates(rows, starts, items.new_zeros(0, size), clicks.new_zeros(0, size))
    return Slates(rows[starts], starts, items[event].masked_fill(~there, -1), clicks[event] * there)


class SlateReader(nn.Module):
    """A recurrent state of what a person clicked before a slate, and the slates to learn from.

    The item vectors are `items.weight`; models that score by inner product use them too.
    """

    def __init__(self, config: SlateConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.items = nn.Embedding(items, config.dim)
        self.gru = PackedGru(config.dim, config.hidden)
        self.project = nn.Linear(config.hidden, config.dim)
        self.start = nn.Parameter(torch.zeros(config.dim))
        self.dropout = Dropout(config.dropout)
        nn.init.normal_(self.items.weight, std=config.init_std)

    def slates(self, batch: HistoryBatch, *, shifted: bool = False) -> Slates:
        """The slates of the rows. `shifted` lets windows begin at random, so that each event comes to stand in each slot.

        Raises `DataError` when slates are told apart by times and there are none.
        """
        breaks = torch.zeros_like(batch.items, dtype=torch.bool)
        phase = None
        if self.config.gap is None:
            if shifted:
                phase = torch.randint(self.config.slate, (len(batch),), device=batch.items.device)
        elif batch.times is None:
            raise DataError("slates are told apart by times (`model.gap`), but the log has none; set model.gap=none for windows of events")
        else:
            breaks[1:] = batch.times.diff() > self.config.gap
        return cut_slates(batch.items, self.clicks(batch), breaks, batch.offsets, size=self.config.slate, phase=phase)

    def clicks(self, batch: HistoryBatch) -> Tensor:
        """1 for each event that counts as a click, else 0; float32 `[token]`."""
        if batch.weights is None:
            return torch.ones_like(batch.items, dtype=torch.float32)
        return (batch.weights >= self.config.click).float()

    def before(self, slates: Slates, batch: HistoryBatch) -> Tensor:
        """The state before each slate of the batch, `[slate, dim]`."""
        return self._states(batch, slates.rows, slates.starts)

    def after(self, batch: HistoryBatch) -> Tensor:
        """The state after each row, `[row, dim]`, from its last `max_history` clicks."""
        liked = self.clicks(batch) > 0
        offsets = offsets_from(liked.long())[batch.offsets]
        kept, offsets = tail_index(offsets, tokens=int(offsets[-1]), length=self.config.max_history)
        rows = torch.arange(len(batch), device=batch.items.device)
        return self._states(HistoryBatch(batch.items[liked][kept], offsets), rows, offsets[1:])

    def clicked_before(self, slates: Slates, batch: HistoryBatch) -> HistoryBatch:
        """The last `max_history` clicks before each slate, one row per slate."""
        liked = self.clicks(batch) > 0
        before = offsets_from(liked.long())
        ends = before[slates.starts]
        lengths = (ends - before[batch.offsets[slates.rows]]).clamp(max=self.config.max_history)
        offsets = offsets_from(lengths)
        places = torch.arange(int(offsets[-1]), device=liked.device) - (offsets[1:] - ends).repeat_interleave(lengths)
        return HistoryBatch(batch.items[liked][places], offsets)

    def _states(self, batch: HistoryBatch, rows: Tensor, ends: Tensor) -> Tensor:
        """The state of each of `rows` after its clicks before the event `ends`, `[row, dim]`; the learned start where there is none."""
        liked = self.clicks(batch) > 0
        if not liked.any():
            return self.start.expand(len(rows), -1)
        before = offsets_from(liked.long())
        tokens = self.dropout(self.items(batch.items[liked]))
        states = self.project(self.dropout(self.gru(tokens, before[batch.offsets])))
        known = before[ends] > before[batch.offsets[rows]]
        return torch.where(known[:, None], states[(before[ends] - 1).clamp(min=0)], self.start.to(states.dtype))


def with_clicks(histories: HistoryBatch, items: Tensor, clicked: Tensor) -> HistoryBatch:
    """Histories of clicks, longer by those of `items` `[row, size]` that were `clicked` (bool, same shape), in the order of the slots."""
    row, slot = clicked.nonzero(as_tuple=True)
    rows = torch.cat([row_ids(histories.offsets, tokens=len(histories.items)), row])
    order = rows.argsort(stable=True)
    values = torch.cat([histories.items, items[row, slot]])[order]
    return HistoryBatch(values, offsets_from(torch.bincount(rows, minlength=len(histories))))
