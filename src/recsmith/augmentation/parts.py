"""What writers share: their common settings, how their networks learn, whom they write for, and how items are picked from logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.data import Histories, offsets_of
from recsmith.protocols import HistoryBatch, Progress
from recsmith.training import TrainingConfig, to_batch, train

_BATCH = 256
"""People that are written for at once, at most."""
_CELLS = 1 << 25
"""Cells of a table of people and items that is held at once."""

Net = TypeVar("Net", bound=nn.Module)


class WriterConfig(Config):
    """For whom a writer writes, how much, and how its own network learns."""

    events: int = Field(5, ge=1)
    """Events written for each person, at most."""
    longest: int = Field(20, ge=1)
    """Only people with at most so many training events get any."""
    epochs: int = Field(60, ge=1)
    """Passes of the writer's own training over the training histories."""
    batch_size: int = Field(128, ge=1)
    """Histories per step of that training."""
    learning_rate: float = Field(1e-3, gt=0)
    """Its step size."""


def learned(
    make: Callable[[], Net], histories: Histories, config: WriterConfig, *, seed: int, progress: Progress | None, window: int | None = None
) -> Net:
    """Make a network (a `Differentiable`) and train it, both by `seed`, without validation; in evaluation mode, in main memory.

    It learns from whole histories, or from windows of at most `window` + 1 events.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = make()
    longest = window or int(max(histories.lengths.max(), 1))
    settings = TrainingConfig(
        epochs=config.epochs, batch_size=config.batch_size, learning_rate=config.learning_rate, max_history=longest, seed=seed
    )
    train(net, histories, settings, progress=progress)
    return net.cpu().eval()


def short_histories(histories: Histories, config: WriterConfig, *, items: int) -> Iterator[tuple[np.ndarray, HistoryBatch]]:
    """The rows that are written for, and their events, batch by batch; fewer rows at once where there are very many `items`."""
    size = max(1, min(_BATCH, _CELLS // items))
    rows = np.flatnonzero((histories.lengths > 0) & (histories.lengths <= config.longest))
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        yield part, to_batch(histories.take(part))


def open_places(batch: HistoryBatch, known: Tensor) -> Tensor:
    """Bool `[row, item]`: what may be written for each row, which is what somebody has (`known` `[item]`) but not the row itself."""
    places = known.repeat(len(batch), 1)
    rows = torch.repeat_interleave(torch.arange(len(batch)), batch.offsets.diff())
    places[rows, batch.items] = False
    return places


def known_items(histories: Histories, items: int) -> Tensor:
    """Bool `[item]`: whether an item occurs in the histories."""
    known = torch.zeros(items, dtype=torch.bool)
    known[torch.from_numpy(histories.values)] = True
    return known


def draw_distinct(logits: Tensor, allowed: Tensor, *, count: int, random: torch.Generator) -> Tensor:
    """Draw `count` distinct items of each row of `logits` `[row, item]` from their softmax, likelier ones first on average.

    By adding Gumbel noise and taking the largest; where fewer are `allowed`, a row ends in -1. int64 `[row, count]`.
    """
    noise = -torch.empty_like(logits).exponential_(generator=random).log()
    values, items = (logits + noise).masked_fill(~allowed, float("-inf")).topk(min(count, logits.shape[1]), dim=1)
    return items.masked_fill(values == float("-inf"), -1)


def packed(rows: int, parts: list[tuple[np.ndarray, Tensor]]) -> Histories:
    """Items `[row, count]` (-1: nothing) of some rows each → histories of all `rows` rows."""
    table = np.full((rows, max((items.shape[1] for _, items in parts), default=0)), -1, dtype=np.int64)
    for where, items in parts:
        table[where, : items.shape[1]] = items.numpy()
    return Histories(table[table >= 0], offsets_of((table >= 0).sum(1).astype(np.int64)))
