"""Batch by batch: how an encoder hands over vectors as it makes them, so that a failure costs one batch and not all before it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from recsmith.encoders.text import TextEncoder
from recsmith.protocols import Progress

Batch = tuple[np.ndarray, np.ndarray]
"""Places of some texts, int64 `[text]`, and their vectors float32 `[text, dim]`, each of length 1."""


@runtime_checkable
class BatchedEncoder(TextEncoder, Protocol):
    """A `TextEncoder` that can hand over each batch as soon as it is encoded."""

    def batches(self, texts: Sequence[str]) -> Iterator[Batch]:
        """Every text once, in whatever order suits the encoder; nothing for no texts."""
        ...


def in_order(batches: Iterable[Batch], count: int, *, dim: int = 0, progress: Progress | None = None) -> np.ndarray:
    """The vectors of all batches by place, float32 `[count, dim]`; `dim` is what an empty answer has."""
    found = np.zeros((0, dim), dtype=np.float32)
    done = 0
    for places, vectors in batches:
        if done == 0:
            found = np.empty((count, vectors.shape[1]), dtype=np.float32)
        found[places] = vectors
        done += len(places)
        if progress is not None:
            progress("encoding texts", done, count)
    return found
