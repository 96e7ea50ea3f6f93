"""Slates filled slot by slot: greedy and drawn, under rules, with their likelihood."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor

from recsmith.data import Histories
from recsmith.decoding import Sampled, fill_slates, judge_slates, list_log_likelihood, slate_log_likelihood, top_k
from recsmith.decoding.rules import BoundRules, Cap, Quota
from recsmith.errors import UserError
from recsmith.protocols import HistoryBatch, Limits

ITEMS = 6


class Chain:
    """Logits of a slot are a row of a table: the first row, then that of the item before."""

    def __init__(self, seed: int = 0, *, spread: float = 1.5) -> None:
        self.table = torch.randn(ITEMS + 1, ITEMS, generator=torch.Generator().manual_seed(seed)) * spread

    def open_slate(self, batch: HistoryBatch, size: int, generator: torch.Generator | None) -> Tensor:
        return self.table

    def slot(self, state: Tensor, chosen: Tensor) -> Tensor:
        return state[chosen[:, -1] + 1] if chosen.shape[1] else state[:1].expand(len(chosen), -1)

    def probability(self, slate: tuple[int, ...]) -> float:
        """Written out: each slot is a softmax over what is left."""
        total, before = 1.0, -1
        for place, item in enumerate(slate):
            weights = self.table[before + 1].double().exp().numpy().copy()
            weights[list(slate[:place])] = 0
            total *= weights[item] / weights.sum()
            before = item
        return total


class Constant(Chain):
    """The same logits at every slot: what a model of scores would say."""

    def slot(self, state: Tensor, chosen: Tensor) -> Tensor:
        return state[:1].expand(len(chosen), -1)


def rows(count: int) -> HistoryBatch:
    return HistoryBatch(torch.zeros(0, dtype=torch.int64), torch.zeros(count + 1, dtype=torch.int64))


def test_greedy_takes_the_best_of_what_is_left_and_knows_its_likelihood() -> None:
    model = Chain()
    slate = fill_slates(model, rows(2), 4)
    expected, before = [], -1
    for _ in range(4):
        order = model.table[before + 1].argsort(descending=True).tolist()
        before = next(item for item in order if item not in expected)
        expected.append(before)
    assert slate.items.tolist() == [expected, expected]
    assert slate_log_likelihood(slate) == pytest.approx([np.log(model.probability(tuple(expected)))] * 2, abs=1e-5)


def test_slates_are_drawn_as_often_as_their_likelihood_says() -> None:
    model, count = Chain(), 40_000
    drawn = fill_slates(model, rows(count), 2, sampled=Sampled(seed=5))
    seen = Counter(map(tuple, drawn.items.tolist()))
    for slate in permutations(range(ITEMS), 2):
        expected = model.probability(slate)
        assert seen[slate] / count == pytest.approx(expected, abs=4.5 * np.sqrt(expected / count))
    assert np.exp(slate_log_likelihood(drawn)[0]) == pytest.approx(model.probability(tuple(drawn.items[0])), rel=1e-4)


def test_given_slates_are_judged_by_the_same_probabilities() -> None:
    model = Chain()
    slates = torch.tensor(list(permutations(range(ITEMS), 3)))
    judged = judge_slates(model, rows(len(slates)), slates).sum(1).exp()
    assert judged.sum().item() == pytest.approx(1, abs=1e-4)
    assert judged[17].item() == pytest.approx(model.probability(tuple(slates[17].tolist())), rel=1e-4)


def test_a_model_without_memory_gives_the_top_list_and_its_plackett_luce_likelihood() -> None:
    model = Constant()
    slate, best = fill_slates(model, rows(1), 3), top_k(model.table[:1].log_softmax(1), 3)
    assert np.array_equal(slate.items, best.items)
    assert slate_log_likelihood(slate) == pytest.approx(list_log_likelihood(best.scores), abs=1e-5)


def test_exclusions_hold_and_what_is_short_ends_in_nothing() -> None:
    exclude = Histories.from_rows([[0, 1, 2], [], list(range(ITEMS))])
    slates = fill_slates(Chain(), rows(3), 4, limits=Limits(exclude=exclude))
    assert sorted(slates.items[0]) == [-1, 3, 4, 5]
    assert slates.items[0, 3] == -1
    assert (slates.items[1] >= 0).all()
    assert slates.items[2].tolist() == [-1] * 4
    assert np.isneginf(slates.scores[2]).all()
    assert slate_log_likelihood(slates)[2] == 0


def test_a_pin_stands_in_its_slot_and_costs_no_likelihood() -> None:
    model = Chain()
    worst = int(model.table[0].argmin())
    slate = fill_slates(model, rows(2), 3, rules=[BoundRules(ITEMS, pins={0: worst}), BoundRules(ITEMS)])
    assert slate.items[0, 0] == worst
    assert slate.scores[0, 0] == 0
    assert slate.items[1, 0] == model.table[0].argmax()
    short = fill_slates(model, rows(1), 3, limits=Limits(allowed=np.arange(ITEMS) == worst), rules=BoundRules(ITEMS, pins={2: worst}))
    assert short.items.tolist() == [[worst, -1, -1]]


def test_a_full_group_closes_and_counts_the_pinned() -> None:
    parity = Histories.from_rows([[item % 2] for item in range(ITEMS)])
    rules = BoundRules(ITEMS, caps=(Cap(2, parity),), pins={3: 0})
    for seed in range(10):
        items = fill_slates(Chain(seed), rows(1), 4, rules=rules, sampled=Sampled(seed=seed)).items[0]
        assert sum(item % 2 == 0 for item in items) == 2
        assert items[3] == 0


def test_quotas_wait_for_the_last_slots_unless_caps_could_shut_them_out() -> None:
    model = Constant()
    order = model.table[0].argsort(descending=True)
    bad = np.isin(np.arange(ITEMS), order[-2:])
    late = fill_slates(model, rows(1), 3, rules=BoundRules(ITEMS, quotas=(Quota(2, bad),))).items[0]
    assert late.tolist() == [order[0], order[-2], order[-1]]
    everything = Histories.from_rows([[0] if item in (order[0], order[-1]) else [] for item in range(ITEMS)])
    rules = BoundRules(ITEMS, quotas=(Quota(1, np.arange(ITEMS) == order[-1].item()),), caps=(Cap(1, everything),))
    early = fill_slates(model, rows(1), 3, rules=rules).items[0]
    assert early[0] == order[-1]
    assert order[0] not in early


def test_a_quota_that_cannot_be_met_is_met_as_far_as_it_goes() -> None:
    rules = BoundRules(ITEMS, quotas=(Quota(3, np.arange(ITEMS) < 1),))
    items = fill_slates(Chain(), rows(1), 4, rules=rules).items[0]
    assert 0 in items
    assert (items >= 0).all()


def test_a_pin_stands_behind_slots_for_which_nothing_was_left() -> None:
    rules = BoundRules(ITEMS, caps=(Cap(1, Histories.from_rows([[]] + [[0]] * (ITEMS - 1))),), pins={3: 0})
    slate = fill_slates(Chain(), rows(1), 4, rules=rules)
    assert slate.items[0, 1:].tolist() == [0, -1, -1]
    assert slate.items[0, 0] > 0


def test_mistakes() -> None:
    with pytest.raises(UserError, match="Chain does not learn from responses, so it cannot be asked for one; leave `wanted` out"):
        fill_slates(Chain(), rows(1), 2, wanted=1.0)
    broken = Chain()
    broken.table[0, 0] = torch.nan
    with pytest.raises(UserError, match="the scores of 2 of 2 rows are NaN; the model diverged"):
        fill_slates(broken, rows(2), 2)
    with pytest.raises(ValueError, match="slates of 0 items cannot be filled"):
        fill_slates(Chain(), rows(1), 0)
