"""Conformance of basket models: inherit `BasketModelTests` in place of `SlateModelTests`, and the promises about sets come along."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from recsmith.data import Histories
from recsmith.errors import DataError
from recsmith.testing.logs import awkward
from recsmith.testing.slates import SlateModelTests
from recsmith.training import to_batch

_DAY = 86_400.0


def basket_rows(people: Sequence[Sequence[Sequence[int]]]) -> Histories:
    """One row per person out of lists of baskets, a day apart."""
    rows = [[item for basket in person for item in basket] for person in people]
    days = [number for person in people for number, basket in enumerate(person) for _ in basket]
    histories = Histories.from_rows(rows)
    return Histories(histories.values, histories.offsets, np.array(days, dtype=np.float64) * _DAY)


class BasketModelTests(SlateModelTests):
    """The promises of a model that reads events of one time as a set, beside those of a `SlateModel`."""

    def test_order_and_repetition_inside_a_basket_are_no_information(self) -> None:
        one = basket_rows([[[1, 2, 3], [4, 5]], [[7, 0], [1]]])
        other = basket_rows([[[3, 1, 2, 1], [5, 4, 4]], [[0, 7, 7], [1]]])
        self._close(self.scores(self.shared(), one), self.scores(self.shared(), other))

    def test_without_times_every_event_is_a_basket(self) -> None:
        singles = basket_rows([[[1], [2], [3]], [[4], [4]]])
        bare = Histories(singles.values, singles.offsets)
        self._close(self.scores(self.shared(), singles), self.scores(self.shared(), bare))

    def test_learning_without_times_is_refused(self) -> None:
        bare = Histories(awkward().values, awkward().offsets)
        with pytest.raises(DataError, match="learns from events that share a time, but the log has no times; name the column"):
            self.build().loss(to_batch(bare), 0)

    def test_the_loss_does_not_depend_on_the_order_inside_a_basket(self) -> None:
        model = self.build().eval()
        losses = []
        for rows in ([[[1, 2, 3]], [[7]]], [[[3, 1, 2, 1]], [[7, 7]]]):
            torch.manual_seed(0)
            losses.append(model.loss(to_batch(basket_rows(rows)), 0).detach())
        self._close(*losses)
