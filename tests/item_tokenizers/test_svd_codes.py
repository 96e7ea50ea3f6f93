from __future__ import annotations

import numpy as np
import pytest

from recsmith.errors import UserError
from recsmith.item_tokenizers.svd import SvdCodes, SvdConfig
from recsmith.testing.logs import ITEMS, checkerboard


def fitted(**settings: int) -> np.ndarray:
    tokenizer = SvdCodes(SvdConfig.parse({"levels": 2, "size": 2, **settings}))
    tokenizer.observe(checkerboard())
    return tokenizer.fit(np.empty((ITEMS, 0), dtype=np.float32), seed=0).table


def test_an_axis_separates_who_is_had_by_others() -> None:
    """The checkerboard's second direction tells the two groups of people apart, and its two bins are their items."""
    table = fitted()
    bins = [(set(table[0::2, level]), set(table[1::2, level])) for level in range(2)]
    assert any(len(even) == len(odd) == 1 and even != odd for even, odd in bins)


def test_bins_hold_equally_many_items_and_codes_are_distinct() -> None:
    table = fitted(size=4)
    assert all(np.bincount(table[:, level]).tolist() == [3, 3, 3, 3] for level in range(2))
    assert len(np.unique(table, axis=0)) == ITEMS


def test_new_items_have_no_behaviour() -> None:
    tokenizer = SvdCodes(SvdConfig(levels=2, size=4))
    tokenizer.observe(checkerboard())
    codes = tokenizer.fit(np.empty((ITEMS, 0), dtype=np.float32), seed=0)
    with pytest.raises(UserError, match="SvdCodes has no code for new items: nobody has met them yet; fit again"):
        tokenizer.assign(np.empty((1, 0), dtype=np.float32), taken=codes)
