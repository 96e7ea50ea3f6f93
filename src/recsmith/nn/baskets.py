"""Rows of events read as sequences of sets: which events stand in one basket, a basket as a vector, the state between baskets.

Letters of the shapes: `token` = distinct items of all baskets, `basket` = baskets of all rows, `row` = rows of the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.errors import DataError
from recsmith.nn.bags import distinct
from recsmith.nn.dropout import Dropout
from recsmith.nn.packed import last_index, offsets_from, positions, row_ids, tail_index
from recsmith.nn.pooling import row_mean
from recsmith.nn.recurrent import PackedGru
from recsmith.protocols import HistoryBatch


class BasketConfig(Config):
    """What a basket is, and how the baskets of a person are read; basket models add their own settings to these."""

    basket_seconds: float = Field(0.0, ge=0)
    """Events in the same window of this many seconds are one basket; 0: events of equal time. As in the split `next-basket`."""
    dim: int = Field(64, ge=1)
    """Width of item vectors."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Share of values dropped in what is read of a history."""
    max_history: int = Field(200, ge=1)
    """Events of a history that are read, counted from its end; the basket that this cuts is read in part."""
    init_std: float = Field(0.02, gt=0)
    """Standard deviation of the initial item vectors."""


@dataclass(frozen=True)
class PackedBaskets:
    """The baskets of packed rows, oldest first. Order and repetition inside a basket are gone: they are no information."""

    items: Tensor
    """Distinct items of each basket, ascending, int64 `[token]`."""
    bounds: Tensor
    """Basket b is `items[bounds[b]:bounds[b + 1]]`; never empty; int64 `[basket + 1]`."""
    offsets: Tensor
    """Row r has the baskets `offsets[r]` to `offsets[r + 1]`; int64 `[row + 1]`."""

    @classmethod
    def of(cls, batch: HistoryBatch, *, items: int, seconds: float = 0.0, longest: int | None = None) -> PackedBaskets:
        """The baskets of a batch over `items` items: of the last `longest` events of each row, events of one time (or window of
        `seconds`) together. Without times every event is a basket of its own."""
        values, offsets, times = batch.items, batch.offsets, batch.times
        if longest is not None:
            kept, offsets = tail_index(offsets, tokens=len(values), length=longest)
            values, times = values[kept], None if times is None else times[kept]
        starts = torch.ones_like(values, dtype=torch.bool)
        rows = row_ids(offsets, tokens=len(values))
        if times is not None:
            window = (times / seconds).floor() if seconds > 0 else times
            starts[1:] = (window.diff() != 0) | (rows.diff() != 0)
        begins = starts.nonzero()[:, 0]
        lengths = torch.cat([begins, begins.new_full((1,), len(values))]).diff()
        found, bounds = distinct(values, offsets_from(lengths), size=items)
        return cls(found, bounds, offsets_from(torch.bincount(rows[begins], minlength=len(offsets) - 1)))

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @property
    def rows(self) -> Tensor:
        """Row of each basket, int64 `[basket]`."""
        return row_ids(self.offsets, tokens=len(self))

    @property
    def basket_of_token(self) -> Tensor:
        """Basket of each item, int64 `[token]`."""
        return row_ids(self.bounds, tokens=len(self.items))

    @property
    def tokens_of_rows(self) -> Tensor:
        """Row r has the items `tokens_of_rows[r]` to `tokens_of_rows[r + 1]`; int64 `[row + 1]`."""
        return self.bounds[self.offsets]

    def before(self, values: Tensor, start: Tensor) -> Tensor:
        """Of `values` `[basket, dim]` the one before each basket in its row, `[basket, dim]`; `start` `[dim]` before the first."""
        first = torch.zeros(len(self), 1, dtype=torch.bool, device=values.device)
        first[self.offsets[:-1][self.offsets.diff() > 0]] = True
        return torch.where(first, start.to(values.dtype), values.roll(1, 0))

    def after(self, values: Tensor, start: Tensor) -> Tensor:
        """Of `values` `[basket, dim]` that of the last basket of each row, `[row, dim]`; `start` `[dim]` where a row is empty."""
        last = last_index(self.offsets)
        if not len(self):
            return start.expand(len(last), -1)
        return torch.where((last >= 0)[:, None], values[last.clamp(min=0)], start.to(values.dtype))

    def where(self, kept: Tensor) -> PackedBaskets:
        """Only the baskets with `kept` true (bool `[basket]`); the number of rows stays."""
        items = self.items[kept[self.basket_of_token]]
        bounds = offsets_from(self.bounds.diff()[kept])
        return PackedBaskets(items, bounds, offsets_from(torch.bincount(self.rows[kept], minlength=len(self.offsets) - 1)))

    def cut(self) -> tuple[PackedBaskets, PackedBaskets]:
        """A basket drawn from each row that has any, and the baskets before it. Draws from torch's default generator."""
        lengths = self.offsets.diff()
        drawn = (torch.rand(len(lengths), device=lengths.device) * lengths).floor().long().clamp(max=(lengths - 1).clamp(min=0))
        places, target = positions(self.offsets, tokens=len(self)), drawn[self.rows]
        return self.where(places < target), self.where(places == target)


def training_baskets(batch: HistoryBatch, config: BasketConfig, *, items: int) -> PackedBaskets:
    """The baskets to learn from. Raises `DataError` where the log cannot tell which events stand in one basket."""
    if batch.times is None and len(batch.items):
        raise DataError("a basket model learns from events that share a time, but the log has no times; name the column (--columns "
                        "time=ts), or give a column `basket_id` with --set split.name=next-basket")  # fmt: skip
    return PackedBaskets.of(batch, items=items, seconds=config.basket_seconds, longest=config.max_history)


class BasketReader(nn.Module):
    """A basket is the mean of its items' vectors; a recurrent network over the baskets gives the state of the person.

    `items.weight` are the item vectors, `[item, dim]`.
    """

    def __init__(self, config: BasketConfig, *, items: int, hidden: int) -> None:
        super().__init__()
        self.config = config
        self.items = nn.Embedding(items, config.dim)
        self.gru = PackedGru(config.dim, hidden)
        self.dropout = Dropout(config.dropout)
        nn.init.normal_(self.items.weight, std=config.init_std)

    def baskets(self, batch: HistoryBatch) -> PackedBaskets:
        """What is read of the histories."""
        config = self.config
        return PackedBaskets.of(batch, items=len(self.items.weight), seconds=config.basket_seconds, longest=config.max_history)

    def forward(self, baskets: PackedBaskets) -> Tensor:
        """The state after each basket, `[basket, hidden]`. There must be at least one basket."""
        means = row_mean(self.items(baskets.items), baskets.bounds)
        return self.dropout(self.gru(self.dropout(means), baskets.offsets))
