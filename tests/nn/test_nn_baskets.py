from __future__ import annotations

import numpy as np
import pytest
import torch

from recsmith.data import Histories
from recsmith.errors import DataError
from recsmith.nn.baskets import BasketConfig, PackedBaskets, training_baskets
from recsmith.protocols import HistoryBatch
from recsmith.training import to_batch

ROWS = [[3, 1, 3, 2, 0], [], [4], [2, 2, 1]]
TIMES = [[0.0, 0.0, 0.0, 5.0, 5.0], [], [7.0], [7.0, 8.0, 9.5]]


def log(rows: list[list[int]] = ROWS, times: list[list[float]] | None = TIMES) -> HistoryBatch:
    histories = Histories.from_rows(rows)
    flat = None if times is None else np.array([time for row in times for time in row])
    return to_batch(Histories(histories.values, histories.offsets, flat))


def sets(baskets: PackedBaskets) -> list[list[list[int]]]:
    """The baskets of each row."""
    every = [baskets.items[start:stop].tolist() for start, stop in zip(baskets.bounds[:-1], baskets.bounds[1:], strict=True)]
    return [every[start:stop] for start, stop in zip(baskets.offsets[:-1], baskets.offsets[1:], strict=True)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [[[1, 3], [0, 2]], [], [[4]], [[2], [2], [1]]]),
        ({"seconds": 2.0}, [[[1, 3], [0, 2]], [], [[4]], [[2], [1, 2]]]),
        ({"longest": 3}, [[[3], [0, 2]], [], [[4]], [[2], [2], [1]]]),
    ],
    ids=["equal times", "windows", "the last events"],
)
def test_events_of_one_time_are_one_set(options: dict[str, float], expected: list[list[list[int]]]) -> None:
    assert sets(PackedBaskets.of(log(), items=5, **options)) == expected


def test_without_times_every_event_is_a_basket_to_answer_from_and_none_to_learn_from() -> None:
    assert sets(PackedBaskets.of(log(times=None), items=5)) == [[[item] for item in row] for row in ROWS]
    with pytest.raises(DataError, match="learns from events that share a time, but the log has no times; name the column"):
        training_baskets(log(times=None), BasketConfig(), items=5)


def test_the_order_inside_a_basket_is_no_information() -> None:
    one, other = (PackedBaskets.of(log([row], [TIMES[0]]), items=5) for row in ([3, 1, 3, 2, 0], [1, 3, 1, 0, 2]))
    assert sets(one) == sets(other)


def test_before_and_after() -> None:
    baskets = PackedBaskets.of(log(), items=5)
    values, start = torch.arange(1.0, 7.0)[:, None], torch.zeros(1)
    assert baskets.before(values, start)[:, 0].tolist() == [0, 1, 0, 0, 4, 5]
    assert baskets.after(values, start)[:, 0].tolist() == [2, 0, 3, 6]


def test_a_cut_is_a_basket_and_all_before_it_and_every_basket_has_its_turn() -> None:
    baskets = PackedBaskets.of(log(), items=5)
    torch.manual_seed(0)
    seen = set()
    for _ in range(40):
        before, target = baskets.cut()
        assert target.offsets.diff().tolist() == [1, 0, 1, 1]
        for row, (past, now) in enumerate(zip(sets(before), sets(target), strict=True)):
            assert [*past, *now] == sets(baskets)[row][: len(past) + len(now)]
        seen.add(tuple(before.offsets.diff().tolist()))
    assert seen == {(first, 0, 0, last) for first in range(2) for last in range(3)}
