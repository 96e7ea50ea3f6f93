"""From histories to packed batches: training rows, their order in an epoch, and the step onto a device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from recsmith.data import Histories, offsets_of
from recsmith.protocols import HistoryBatch
from recsmith.seeding import generator

_SMALLEST_BATCH = 32

_SMALLEST_BATCH = 32


@dataclass(frozen=True)
class TrainingRows:
    """What an epoch runs through: pieces of histories, each with the index of its user."""

    histories: Histories
    users: np.ndarray | None
    """User index of each row, int64 `[row]`."""
    enters: np.ndarray | None = None
    """Epoch from which each event takes part, int64 `[event]`; None: all from the start."""

    def __len__(self) -> int:
        return len(self.histories)

    def in_epoch(self, epoch: int) -> Histories:
        """The rows with the events that take part in an epoch; there are as many rows in every epoch."""
        return self.histories if self.enters is None else self.histories.where(self.enters <= epoch)


def to_batch(histories: Histories, *, users: np.ndarray | None = None, device: torch.device | str = "cpu") -> HistoryBatch:
    """All rows as one batch on `device`; times and weights come along when there are any. `users` is int64 `[row]`."""

    def move(array: np.ndarray | None, dtype: torch.dtype) -> torch.Tensor | None:
        return None if array is None else torch.as_tensor(np.ascontiguousarray(array), dtype=dtype).to(device)

    items, offsets = move(histories.values, torch.int64), move(histories.offsets, torch.int64)
    assert items is not None
    assert offsets is not None
    return HistoryBatch(
        items, offsets, move(users, torch.int64), move(histories.times, torch.float64), move(histories.weights, torch.float32)
    )


def row_batches(histories: Histories, *, device: torch.device | str = "cpu") -> list[HistoryBatch]:
    """Each row as a batch of its own, without who it belongs to."""
    return [to_batch(histories.slice(row, row + 1), device=device) for row in range(len(histories))]


def training_rows(
    histories: Histories,
    *,
    max_history: int,
    long_histories: Literal["windows", "last"] = "windows",
    users: np.ndarray | None = None,
    enters: np.ndarray | None = None,
) -> TrainingRows:
    """The rows to train on: at most `max_history` inputs and the target of the last; empty rows are left out.

    "windows" cuts a longer history from its end; neighbouring windows share one event, so that each event but the first is
    the target of exactly one input. "last" keeps the end only.
    """
    starts, stops, rows = _pieces(histories, max_history, long_histories)
    lengths = stops - starts
    offsets = offsets_of(lengths)
    index = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
    pieces = Histories(
        histories.values[index],
        offsets,
        None if histories.times is None else histories.times[index],
        None if histories.weights is None else histories.weights[index],
    )
    return TrainingRows(
        pieces, None if users is None else np.asarray(users, dtype=np.int64)[rows], None if enters is None else enters[index]
    )


def _pieces(histories: Histories, max_history: int, long_histories: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First event, end and row of each piece."""
    lengths = histories.lengths
    rows = np.flatnonzero(lengths > 0)
    if long_histories == "last":
        stops = histories.offsets[1:][rows]
        return stops - np.minimum(lengths[rows], max_history + 1), stops, rows
    counts = np.maximum(-(-(lengths[rows] - 1) // max_history), 1)
    pieces = np.repeat(rows, counts)
    number = np.arange(len(pieces)) - np.repeat(offsets_of(counts)[:-1], counts)
    stops = histories.offsets[1:][pieces] - number * max_history
    return np.maximum(stops - max_history - 1, histories.offsets[:-1][pieces]), stops, pieces


def batch_size_for(rows: TrainingRows, *, batch_size: int, least_batches: int) -> int:
    """Rows per batch: `batch_size`, or fewer, but not below 32, where an epoch would otherwise have fewer than `least_batches` steps."""
    return min(batch_size, max(_SMALLEST_BATCH, len(rows) // least_batches))


def steps_per_epoch(rows: TrainingRows, batch_size: int) -> int:
    """Optimiser steps of one epoch."""
    return -(-len(rows) // batch_size)


def batches(
    rows: TrainingRows, *, batch_size: int, seed: int, epoch: int, first: int = 0, device: torch.device | str = "cpu"
) -> Iterator[HistoryBatch]:
    """The batches of one epoch from number `first` on; the order depends on `seed` and `epoch` alone, so it can be resumed."""
    order = generator(seed, "order", epoch).permutation(len(rows))
    histories = rows.in_epoch(epoch)
    for start in range(first * batch_size, len(rows), batch_size):
        chosen = order[start : start + batch_size]
        users = None if rows.users is None else rows.users[chosen]
        yield to_batch(histories.take(chosen), users=users, device=device)
