from __future__ import annotations

import pytest
import torch

from recsmith.nn.hstu import TransductionUnit, gap_buckets
from recsmith.nn.packed import Plan, offsets_from


def test_buckets_of_time_grow_geometrically() -> None:
    base = 1.4e9  # today's times: single precision alone would round them to two minutes
    times = base + torch.tensor([[0.0, 1.0, 2.0, 61.0, torch.nan, 1e9]], dtype=torch.float64)
    buckets = gap_buckets(times, buckets=64)[0]
    assert buckets[:, 0].tolist() == [0, 0, 2, 13, 64, 63]  # log(2) / 0.301 = 2.3, log(61) / 0.301 = 13.7
    assert torch.equal(buckets, buckets.T)
    assert buckets[4].tolist() == [64] * 6


def test_looks_back_only_and_stays_in_its_row() -> None:
    torch.manual_seed(0)
    unit = TransductionUnit(dim=8, heads=2, longest=6, buckets=8, dropout=0.5, attention_dropout=0.5).eval()
    plan = Plan.of(offsets_from(torch.tensor([4, 6])))
    gaps = [gap_buckets(block, buckets=8) for block in plan.pad(torch.arange(10.0).double())]
    tokens = torch.randn(10, 8)
    changed = tokens.clone()
    changed[6] = torch.randn(8)  # third event of the second row
    same = (unit(tokens, plan, gaps) == unit(changed, plan, gaps)).all(1).tolist()
    assert same == [True] * 6 + [False] * 4


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="dim 10 does not divide into 3 heads"):
        TransductionUnit(dim=10, heads=3, longest=4, buckets=4)
