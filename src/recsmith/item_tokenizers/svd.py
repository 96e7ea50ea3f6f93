"""`SvdCodes`: every number of an item's behaviour vector is a code (Petrov & Macdonald, 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field

from recsmith.item_tokenizers.plain import ObservingTokenizer, PlainConfig
from recsmith.nn.graph import InteractionGraph


class SvdConfig(PlainConfig):
    """Settings of SVD tokenisation."""

    levels: int = Field(4, ge=1, le=64)
    """Singular directions, each a code (the paper's t); the collision level, which numbers items of equal codes, comes on top."""
    size: int = Field(128, ge=2, le=65_536)
    """Values that a number is rounded to (the paper's v)."""


class SvdCodes(ObservingTokenizer):
    """SVD tokenisation of GPTRec (Petrov & Macdonald, 2023): item vectors are the main right singular vectors of the 0/1 matrix of people
    and items in training; each of their numbers is cut into `size` bins of equally many items, and the bins are the codes.

    Neighbouring items on an axis share a bin; which of two equal numbers comes first is drawn by seed, as the paper's noise does.
    Deviation: items of equal codes are told apart by the collision level.
    """

    Config: ClassVar[type[PlainConfig]] = SvdConfig
    no_new_items = "nobody has met them yet"

    def _index(self, items: int, *, seed: int) -> tuple[np.ndarray, Sequence[int]]:
        histories = self._observed(items)
        histories = histories.where(histories.values >= 0)
        graph = InteractionGraph()
        graph.set(torch.from_numpy(histories.values), torch.from_numpy(histories.offsets))
        levels, size = self.config.levels, min(self.config.size, items)
        axes = graph.item_axes(items, dim=levels, seed=seed, normalised=False).numpy()
        noise = np.random.default_rng(seed).random(axes.shape)
        ranks = np.stack([np.lexsort((noise[:, level], axes[:, level])).argsort() for level in range(levels)], axis=1)
        return ranks * size // items, [size] * levels
