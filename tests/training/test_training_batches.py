from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsmith.data import Histories
from recsmith.training import batches, to_batch, training_rows

ROWS = st.lists(st.integers(0, 25), min_size=1, max_size=12)


def histories_of(lengths: list[int]) -> Histories:
    """Rows of the given lengths in which every event is its own item."""
    ends = np.cumsum(lengths)
    return Histories.from_rows([range(end - length, end) for length, end in zip(lengths, ends, strict=True)])


@settings(max_examples=40, deadline=None)
@given(ROWS, st.integers(1, 8))
def test_windows_make_each_event_but_the_first_a_target_once(lengths: list[int], max_history: int) -> None:
    rows = training_rows(histories_of(lengths), max_history=max_history, users=np.arange(len(lengths)))
    histories = rows.histories
    assert histories.lengths.min(initial=1) >= 1
    assert histories.lengths.max(initial=1) <= max_history + 1
    targets = [item for row in range(len(rows)) for item in histories.row(row)[1:]]
    firsts = {end - length for length, end in zip(lengths, np.cumsum(lengths), strict=True) if length}
    assert sorted(targets) == sorted(set(range(sum(lengths))) - firsts)
    assert rows.users is not None
    owners = np.repeat(np.arange(len(lengths)), lengths)
    assert all((owners[histories.row(row)] == rows.users[row]).all() for row in range(len(rows)))


def test_last_keeps_the_end_of_long_histories() -> None:
    rows = training_rows(histories_of([7, 0, 2]), max_history=3, long_histories="last")
    assert [rows.histories.row(row).tolist() for row in range(len(rows))] == [[3, 4, 5, 6], [7, 8]]


def test_extras_travel_with_their_events() -> None:
    histories = Histories(np.arange(5), np.array([0, 5]), np.arange(5) * 10.0, np.arange(5, dtype=np.float32))
    rows = training_rows(histories, max_history=2)
    assert rows.histories.times is not None
    assert rows.histories.times.tolist() == (rows.histories.values * 10.0).tolist()
    batch = to_batch(rows.histories)
    assert batch.weights is not None
    assert batch.times is not None
    assert batch.weights.tolist() == batch.items.tolist()
    assert (batch.items.dtype, batch.offsets.dtype, batch.times.dtype, batch.weights.dtype) == (
        torch.int64, torch.int64, torch.float64, torch.float32,
    )  # fmt: skip


def test_an_epoch_holds_every_row_once_in_an_order_of_seed_and_epoch() -> None:
    rows = training_rows(histories_of([2, 3, 1, 4, 2, 2, 5]), max_history=50, users=np.arange(7))

    def users(**options: int) -> list[int]:
        found = []
        for batch in batches(rows, batch_size=3, **options):
            assert batch.users is not None
            found += batch.users.tolist()
        return found

    order = users(seed=1, epoch=0)
    assert sorted(order) == list(range(7))
    assert order == users(seed=1, epoch=0)
    assert order[3:] == users(seed=1, epoch=0, first=1)
    assert len({tuple(users(seed=seed, epoch=epoch)) for seed in (1, 2) for epoch in (0, 1)}) == 4


def test_to_batch_of_nothing() -> None:
    batch = to_batch(Histories.from_rows([[], []]))
    assert len(batch) == 2
    assert batch.items.dtype == torch.int64
    assert batch.users is None


@pytest.mark.parametrize("size", [1, 4, 100])
def test_batches_have_the_asked_number_of_rows(size: int) -> None:
    rows = training_rows(histories_of([1] * 10), max_history=50)
    sizes = [len(batch) for batch in batches(rows, batch_size=size, seed=0, epoch=0)]
    assert sum(sizes) == 10
    assert all(found == size for found in sizes[:-1])
    assert 0 < sizes[-1] <= size
