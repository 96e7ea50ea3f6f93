from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsmith.nn import packed

LENGTHS = st.lists(st.integers(0, 30), min_size=1, max_size=40)


def offsets_of(lengths: list[int]) -> torch.Tensor:
    return packed.offsets_from(torch.tensor(lengths, dtype=torch.int64))


@settings(max_examples=30, deadline=None)
@given(LENGTHS)
def test_positions_rows_and_last_index(lengths: list[int]) -> None:
    offsets, tokens = offsets_of(lengths), sum(lengths)
    assert packed.row_ids(offsets, tokens=tokens).tolist() == [row for row, n in enumerate(lengths) for _ in range(n)]
    assert packed.positions(offsets, tokens=tokens).tolist() == [i for n in lengths for i in range(n)]
    assert packed.reversed_positions(offsets, tokens=tokens).tolist() == [n - 1 - i for n in lengths for i in range(n)]
    ends = np.cumsum(lengths)
    assert packed.last_index(offsets).tolist() == [end - 1 if n else -1 for end, n in zip(ends, lengths, strict=True)]


@settings(max_examples=30, deadline=None)
@given(LENGTHS, st.integers(1, 10))
def test_tail_keeps_the_end_of_each_row(lengths: list[int], length: int) -> None:
    offsets, tokens = offsets_of(lengths), sum(lengths)
    index, kept = packed.tail_index(offsets, tokens=tokens, length=length)
    rows = torch.arange(tokens).split(lengths)
    assert index.tolist() == [token for row in rows for token in row[-length:].tolist()]
    assert kept.diff().tolist() == [min(n, length) for n in lengths]


@settings(max_examples=30, deadline=None)
@given(LENGTHS)
def test_next_token_pairs_each_token_with_its_successor(lengths: list[int]) -> None:
    offsets, tokens = offsets_of(lengths), sum(lengths)
    shift = packed.next_token(offsets, tokens=tokens)
    rows = [row.tolist() for row in torch.arange(tokens).split(lengths)]
    assert shift.inputs.tolist() == [token for row in rows for token in row[:-1]]
    assert shift.targets.tolist() == [token for row in rows for token in row[1:]]
    assert shift.firsts.tolist() == [row[0] for row in rows if row]
    assert shift.offsets.diff().tolist() == [max(n - 1, 0) for n in lengths]


@settings(max_examples=30, deadline=None)
@given(LENGTHS)
def test_plan_pads_and_unpads_without_loss(lengths: list[int]) -> None:
    offsets, tokens = offsets_of(lengths), sum(lengths)
    if tokens == 0:
        assert packed.Plan.of(offsets).shapes == ()
        return
    values = torch.randn(tokens, 3)
    plan = packed.Plan.of(offsets)
    blocks = plan.pad(values)
    assert torch.equal(plan.unpad(blocks), values)
    seen = {}
    for number, (block, rows) in enumerate(zip(blocks, plan.rows, strict=True)):
        mask = plan.mask(number)
        for line, row in enumerate(rows.tolist()):
            seen[row] = block[line][mask[line]]
    assert sorted(seen) == [row for row, n in enumerate(lengths) if n]
    for row, (start, stop) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
        if row in seen:
            assert torch.equal(seen[row], values[start:stop])


def test_plan_pads_little_and_has_few_blocks() -> None:
    lengths = np.random.default_rng(0).geometric(0.12, size=256).clip(max=50)
    plan = packed.Plan.of(offsets_of(lengths.tolist()))
    assert len(plan.index) < 1.3 * lengths.sum()
    assert len(plan.shapes) <= 10


@settings(max_examples=30, deadline=None)
@given(LENGTHS.filter(any))
def test_time_major_order_is_that_of_torch(lengths: list[int]) -> None:
    values = torch.randn(sum(lengths), 2)
    order = packed.TimeMajor.of(offsets_of(lengths))
    rows = [row for row in values.split(lengths) if len(row)]
    expected = torch.nn.utils.rnn.pack_sequence(sorted(rows, key=len, reverse=True))
    assert torch.equal(values[order.index], expected.data)
    assert torch.equal(order.batch_sizes, expected.batch_sizes)
    assert torch.equal(values[order.index][order.back], values)
