from __future__ import annotations

import pytest
import torch
from torch import Tensor

from recsmith.errors import DataError
from recsmith.nn.slates import SlateConfig, SlateReader, cut_slates, with_clicks
from recsmith.protocols import HistoryBatch

SMALL = {"slate": 3, "dim": 8, "hidden": 8, "dropout": 0.0, "max_history": 4, "init_std": 0.5}


def batch(rows: list[list[int]], times: list[float] | None = None, weights: list[float] | None = None) -> HistoryBatch:
    offsets = torch.tensor([0, *torch.tensor([len(row) for row in rows]).cumsum(0).tolist()])
    items = torch.tensor([item for row in rows for item in row], dtype=torch.int64)
    return HistoryBatch(
        items,
        offsets,
        times=None if times is None else torch.tensor(times, dtype=torch.float64),
        weights=None if weights is None else torch.tensor(weights),
    )


def reader(**settings: object) -> SlateReader:
    torch.manual_seed(0)
    return SlateReader(SlateConfig.parse({**SMALL, **settings}), items=12).eval()


def state_after(model: SlateReader, items: list[int]) -> Tensor:
    """Written out: the recurrent network over these items alone."""
    if not items:
        return model.start
    return model.project(model.gru.gru(model.items(torch.tensor(items))[:, None])[0][-1, 0])


def test_windows_are_full_but_the_last_and_never_cross_rows() -> None:
    slates = reader().slates(batch([[0, 1, 2, 3], [], [4, 5], [6]]))
    assert slates.items.tolist() == [[0, 1, 2], [3, -1, -1], [4, 5, -1], [6, -1, -1]]
    assert slates.rows.tolist() == [0, 0, 2, 3]
    assert slates.starts.tolist() == [0, 3, 4, 6]
    assert slates.clicks.sum(1).tolist() == [3, 1, 2, 1]


def test_phases_move_where_windows_begin() -> None:
    rows = batch([[0, 1, 2, 3, 4]])
    nothing = torch.zeros(5, dtype=torch.bool)
    for phase, expected in ((0, [[0, 1, 2], [3, 4, -1]]), (1, [[0, 1, -1], [2, 3, 4]]), (2, [[0, -1, -1], [1, 2, 3], [4, -1, -1]])):
        slates = cut_slates(rows.items, torch.ones(5), nothing, rows.offsets, size=3, phase=torch.tensor([phase]))
        assert slates.items.tolist() == expected
    torch.manual_seed(0)
    model = reader()
    firsts = {tuple(model.slates(rows, shifted=True).starts.tolist()) for _ in range(30)}
    assert firsts == {(0, 3), (0, 2), (0, 1, 4)}


def test_slates_are_sessions_pages_or_baskets_by_the_gap() -> None:
    times = [0, 0, 100, 100, 5000, 5000, 5000, 5000]
    rows = batch([[0, 1, 2, 3, 4, 5, 6, 7]], times, [1, 0, 0, 0, 1, 1, 0, 1])
    pages = reader(gap=0).slates(rows, shifted=True)
    assert pages.items.tolist() == [[0, 1, -1], [2, 3, -1], [4, 5, 6], [7, -1, -1]]
    assert pages.clicks.tolist() == [[1, 0, 0], [0, 0, 0], [1, 1, 0], [1, 0, 0]]
    assert reader(gap=1800).slates(rows).items[:2].tolist() == [[0, 1, 2], [3, -1, -1]]
    with pytest.raises(DataError, match=r"slates are told apart by times \(`model.gap`\), but the log has none; set model.gap=none"):
        reader(gap=0).slates(batch([[0, 1]]))


@torch.no_grad()
def test_the_state_before_a_slate_has_read_earlier_clicks_of_its_row_alone() -> None:
    model = reader(gap=0)
    rows = batch([[0, 1, 2], [3, 4, 5]], [0, 0, 9, 0, 0, 9], [1, 0, 1, 0, 0, 1])
    slates = model.slates(rows)
    before = model.before(slates, rows)
    for found, read in zip(before, ([], [0], [], []), strict=True):
        torch.testing.assert_close(found, state_after(model, read))
    torch.testing.assert_close(model.after(rows)[0], state_after(model, [0, 2]))
    history = model.clicked_before(slates, rows)
    assert (history.items.tolist(), history.offsets.tolist()) == ([0], [0, 0, 1, 1, 1])
    torch.testing.assert_close(model.after(history), before)


def test_only_the_last_clicks_are_kept_and_new_ones_follow() -> None:
    model = reader(slate=1)
    rows = batch([[0, 1, 2, 3, 4, 5], [6, 7]])
    slates = model.slates(rows).take(torch.tensor([5, 7]))
    history = model.clicked_before(slates, rows)
    assert (history.items.tolist(), history.offsets.tolist()) == ([1, 2, 3, 4, 6], [0, 4, 5])
    longer = with_clicks(history, torch.tensor([[8, 9], [10, 11]]), torch.tensor([[False, True], [True, True]]))
    assert (longer.items.tolist(), longer.offsets.tolist()) == ([1, 2, 3, 4, 9, 6, 10, 11], [0, 5, 8])


def test_whole_slates_are_full_and_repeat_nothing() -> None:
    slates = reader().slates(batch([[0, 1, 2, 3, 3, 4, 5]]))
    assert slates.whole(3).tolist() == [True, False, False]
    assert slates.whole(1).tolist() == [True, True, True]
