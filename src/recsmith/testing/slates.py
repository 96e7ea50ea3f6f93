"""Conformance of slate models: inherit `SlateModelTests` in place of `ScoreModelTests`, and the promises of slates come along."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch

from recsmith.data import Histories
from recsmith.decoding import Sampled, fill_slates, judge_slates, slate_log_likelihood
from recsmith.decoding.rules import BoundRules, Cap, Quota
from recsmith.protocols import HistoryBatch, Limits, RankedLists, SlateModel
from recsmith.testing.logs import ITEMS, awkward
from recsmith.testing.models import ScoreModelTests
from recsmith.training import to_batch

SIZE = 4
"""Slots of the slates here."""


class SlateModelTests(ScoreModelTests):
    """The promises of a `SlateModel`, beside those of a `ScoreModel`."""

    def slates(self, histories: Histories | HistoryBatch, size: int = SIZE, **options: Any) -> RankedLists:
        """Slates of the shared model; `options` are those of `fill_slates`."""
        return fill_slates(self.shared(), to_batch(histories) if isinstance(histories, Histories) else histories, size, **options)

    def test_satisfies_the_protocol_of_slates(self) -> None:
        assert isinstance(self.build(), SlateModel)

    @pytest.mark.parametrize("sampled", [None, Sampled(seed=1)])
    def test_slates_are_full_and_repeat_nothing(self, sampled: Sampled | None) -> None:
        for size in (1, SIZE, ITEMS):
            slates = self.slates(awkward(), size, sampled=sampled)
            assert slates.items.shape == (len(awkward()), size)
            assert (slates.items >= 0).all()
            assert all(len(set(row)) == size for row in slates.items.tolist())

    @torch.no_grad()
    def test_slots_have_finite_logits_whatever_was_chosen(self) -> None:
        model, batch = self.shared(), to_batch(awkward())
        state = model.open_slate(batch, SIZE, None)
        for filled in range(SIZE):
            logits = model.slot(state, torch.arange(filled).expand(len(batch), -1))
            assert logits.shape == (len(batch), ITEMS)
            assert torch.isfinite(logits).all()

    def test_limits_are_kept_and_slates_are_short_only_when_nothing_is_left(self) -> None:
        allowed = np.zeros(ITEMS, dtype=bool)
        allowed[[1, 3, 5, 7, 9]] = True
        slates = self.slates(awkward(), limits=Limits(exclude=awkward(), allowed=allowed))
        for row, items in enumerate(slates.items.tolist()):
            free = sorted({1, 3, 5, 7, 9} - set(awkward().row(row).tolist()))
            there = [item for item in items if item >= 0]
            assert set(there) <= set(free)
            assert len(there) == min(SIZE, len(free))
            assert items[len(there) :] == [-1] * (SIZE - len(there))

    @pytest.mark.parametrize("sampled", [None, Sampled(seed=2)])
    def test_rules_that_depend_on_what_was_chosen_are_kept(self, sampled: Sampled | None) -> None:
        groups = Histories.from_rows([[item % 4] for item in range(ITEMS)])
        one_each = BoundRules(ITEMS, caps=(Cap(1, groups),), pins={1: 6})
        for items in self.slates(awkward(), rules=one_each, sampled=sampled).items.tolist():
            assert sorted(item % 4 for item in items) == [0, 1, 2, 3]
            assert items[1] == 6
        threes = BoundRules(ITEMS, quotas=(Quota(3, np.arange(ITEMS) % 3 == 0),))
        for items in self.slates(awkward(), rules=threes, sampled=sampled).items.tolist():
            assert sum(item % 3 == 0 for item in items) >= 3

    def test_a_batch_of_slates_equals_its_rows_one_by_one(self) -> None:
        histories = awkward()
        together = self.slates(histories)
        for row in range(len(histories)):
            alone = self.slates(histories.slice(row, row + 1))
            np.testing.assert_array_equal(alone.items[0], together.items[row])
            np.testing.assert_allclose(alone.scores[0], together.scores[row], rtol=self.tolerance, atol=self.tolerance)

    def test_slates_depend_on_the_seed_and_on_nothing_else(self) -> None:
        histories = awkward()

        def drawn(seed: int, noise: int) -> list[list[int]]:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(noise)
                return self.slates(histories, sampled=Sampled(seed=seed)).items.tolist()

        assert drawn(3, noise=1) == drawn(3, noise=2)
        assert any(drawn(3, noise=1) != drawn(seed, noise=1) for seed in (4, 5, 6))
        assert np.array_equal(self.slates(histories).items, self.slates(histories).items)

    def test_likelihoods_of_all_slates_add_up_to_one(self) -> None:
        pairs = torch.tensor(list(permutations(range(ITEMS), 2)))
        one = to_batch(awkward().slice(6, 7))
        batch = HistoryBatch(one.items.repeat(len(pairs)), torch.arange(len(pairs) + 1) * len(one.items))
        total = judge_slates(self.shared(), batch, pairs).sum(1).exp().sum()
        assert total.item() == pytest.approx(1.0, abs=1e-3)

    def test_the_likelihood_of_an_answer_is_that_of_its_items(self) -> None:
        slates = self.slates(awkward())
        judged = judge_slates(self.shared(), to_batch(awkward()), torch.from_numpy(slates.items)).sum(1).numpy()
        np.testing.assert_allclose(slate_log_likelihood(slates), judged, rtol=1e-4, atol=1e-4)
