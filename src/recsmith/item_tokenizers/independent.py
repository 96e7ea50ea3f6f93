"""`IndependentCodes`: one fresh code per item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from recsmith.item_tokenizers.plain import PlainConfig, PlainTokenizer


class IndependentConfig(PlainConfig):
    """Independent indexing has no settings."""


class IndependentCodes(PlainTokenizer):
    """Independent indexing (Hua et al., 2023): every item is a token of its own, as in a model over item ids.

    Deviation: a collision level follows, as everywhere here; it is always 0.
    """

    Config: ClassVar[type[PlainConfig]] = IndependentConfig
    no_new_items = "each item has a learned token of its own"

    def _index(self, items: int, *, seed: int) -> tuple[np.ndarray, Sequence[int]]:
        return np.arange(items)[:, None], [items]
