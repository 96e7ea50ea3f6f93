"""HSTU on packed rows against the paper's formula written out: row by row, head by head, every attention weight with its biases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from recsmith.data import Histories
from recsmith.models.hstu import Hstu, HstuConfig
from recsmith.nn.hstu import TransductionUnit
from recsmith.training import to_batch

ITEMS, LENGTH, BUCKETS = 30, 6, 20
ROWS = [[3, 1, 4, 1, 5], [9, 2], [6], [], [5, 3, 5, 8, 9, 7, 9], [2, 7, 1, 8, 2, 8, 1, 8, 2]]


def timed() -> Histories:
    rows = Histories.from_rows(ROWS)
    steps = np.random.default_rng(0).choice([0.0, 3.0, 500.0, 9e4, 4e7], len(rows.values))
    return Histories(rows.values, rows.offsets, steps.cumsum() + 1.3e9)


def bias(unit: TransductionUnit, times: list[float] | None, i: int, j: int) -> Tensor:
    if times is None:
        return unit.bias.by_distance[i - j] + unit.bias.by_gap[BUCKETS]
    bucket = min(int(math.log(max(1.0, times[i] - times[j])) / 0.301), BUCKETS - 1)
    return unit.bias.by_distance[i - j] + unit.bias.by_gap[bucket]


def layer(unit: TransductionUnit, row: Tensor, times: list[float] | None) -> Tensor:
    """One unit on one row, `[length, dim]` → `[length, dim]`."""
    length, dim = row.shape
    gate, value, query, key = F.silu(unit.project_in(unit.norm(row))).split(dim, dim=1)
    width = dim // unit.heads
    mixed = []
    for i in range(length):
        parts = []
        for head in range(unit.heads):
            part = slice(head * width, (head + 1) * width)
            weights = [F.silu(query[i, part] @ key[j, part] + bias(unit, times, i, j)) / unit.longest for j in range(i + 1)]
            parts.append(sum(weight * value[j, part] for j, weight in enumerate(weights)))
        mixed.append(torch.cat(parts))
    return row + unit.project_out(gate * unit.mixed_norm(torch.stack(mixed)))


def states(model: Hstu, row: list[int], times: list[float] | None) -> Tensor:
    x = model.items(torch.tensor(row)) * math.sqrt(model.config.dim) + model.positions.weight[: len(row)]
    for unit in model.units:
        x = layer(unit, x, times)
    return model.output_norm(x)


def logits(model: Hstu, hidden: Tensor) -> Tensor:
    if model.config.similarity == "dot":
        return hidden @ model.items.weight.T
    return torch.stack([F.cosine_similarity(hidden, item, dim=1) for item in model.items.weight], 1) / model.config.temperature


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
@pytest.mark.parametrize("with_times", [True, False])
def test_packed_equals_formula_forward_and_backward(similarity: str, with_times: bool) -> None:
    torch.manual_seed(0)
    settings = {"dim": 12, "heads": 3, "max_history": LENGTH, "time_buckets": BUCKETS, "hide_times": 0.0, "init_std": 0.3}
    model = Hstu(HstuConfig.parse({**settings, "similarity": similarity}), items=ITEMS).eval()
    with torch.no_grad():
        for unit in model.units:
            unit.bias.by_gap.normal_()
            unit.bias.by_distance.normal_()
    histories = timed() if with_times else Histories.from_rows(ROWS)
    rows = [
        (row, histories.times[start : start + len(row)].tolist() if histories.times is not None else None)
        for row, start in zip(ROWS, histories.offsets, strict=False)
    ]
    tails = [(row[-LENGTH:], times and times[-LENGTH:]) for row, times in rows]
    last = torch.stack([states(model, row, times)[-1] if row else model.start for row, times in tails])
    scores = model.score(to_batch(histories))
    torch.testing.assert_close(scores, logits(model, last), rtol=1e-4, atol=1e-4)

    kept = [(row[-LENGTH - 1 :], times and times[-LENGTH - 1 :]) for row, times in rows if row]
    hidden = torch.cat(
        [states(model, row[:-1], times and times[:-1]) for row, times in kept if len(row) > 1] + [model.start.expand(len(kept), -1)]
    )
    targets = torch.tensor([item for row, _ in kept for item in row[1:]] + [row[0] for row, _ in kept])
    reference = F.cross_entropy(logits(model, hidden), targets)
    loss = model.loss(to_batch(histories), 0)
    torch.testing.assert_close(loss, reference, rtol=1e-5, atol=1e-5)
    parameters = list(model.parameters())
    for a, b in zip(*(torch.autograd.grad(x, parameters) for x in (loss, reference)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
