"""Rows per step: as configured on a large log, fewer on a small one, so that an epoch is more than a handful of steps."""

import numpy as np
import pytest

from recsmith.data import Histories
from recsmith.training.batches import batch_size_for, training_rows


@pytest.mark.parametrize(("rows", "batch_size", "expected"), [(100_000, 256, 256), (1_200, 256, 50), (600, 256, 32), (600, 16, 16)])
def test_a_small_log_gets_smaller_batches_but_not_below_32(rows: int, batch_size: int, expected: int) -> None:
    histories = Histories(np.zeros(2 * rows, dtype=np.int64), np.arange(rows + 1) * 2)
    given = training_rows(histories, max_history=50)
    assert batch_size_for(given, batch_size=batch_size, least_batches=24) == expected
    assert batch_size_for(given, batch_size=batch_size, least_batches=1) == batch_size
