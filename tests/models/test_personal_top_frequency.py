from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import recsmith
from recsmith.data import Dataset, Histories, shuffle_ties
from recsmith.models.personal_top_frequency import PersonalTopFrequency, PersonalTopFrequencyConfig
from recsmith.testing import ScoreModelTests
from recsmith.training import to_batch

# item 3 is the most popular; the first person took 1 in two baskets (and twice in one of them), 0 in one
LOG = Histories(np.array([1, 1, 0, 1, 3, 3, 2, 3, 2]), np.array([0, 4, 6, 9]), np.array([0.0, 0.0, 0.0, 5.0, 0.0, 5.0, 0.0, 0.0, 9.0]))

NEXT_BASKET = {"split": {"name": "next-basket"}}


class TestPersonalTopFrequency(ScoreModelTests):
    model_class = PersonalTopFrequency
    config = PersonalTopFrequencyConfig()
    personalised = False  # it repeats; what the suite asks for are unseen items


def solved(**settings: float) -> PersonalTopFrequency:
    model = PersonalTopFrequency(PersonalTopFrequencyConfig.parse(settings), items=5)
    model.solve(LOG)
    return model


def test_own_baskets_decide_and_popularity_orders_the_rest() -> None:
    scores = solved().score(to_batch(LOG))
    np.testing.assert_allclose(scores[0], [1.25, 2.5, 0.5, 0.75, 0.0])  # a basket counts an item once
    assert scores[1].argsort(descending=True, stable=True).tolist() == [3, 1, 2, 0, 4]


def test_own_counts_alone_fading_and_blended() -> None:
    assert solved(popularity=0).score(to_batch(LOG))[0].tolist() == [1, 2, 0, 0, 0]
    assert solved(popularity=0, recency=0.5).score(to_batch(LOG))[0].tolist() == [0.5, 1.5, 0, 0, 0]
    assert solved(popularity=8).score(to_batch(LOG))[0].argmax() == 1
    assert solved(popularity=8).score(to_batch(LOG))[0, 3] > solved(popularity=8).score(to_batch(LOG))[0, 0]


def test_without_times_every_event_counts() -> None:
    bare = Histories(LOG.values, LOG.offsets)
    assert solved(popularity=0).score(to_batch(bare))[0].tolist() == [1, 3, 0, 0, 0]


@pytest.mark.realdata
@pytest.mark.skipif("RECSMITH_DATA" not in os.environ, reason="needs the folder that RECSMITH_DATA names")
def test_tafeng_is_cut_into_baskets_whose_inner_order_does_not_count() -> None:
    """What people took before beats what everybody takes, and shuffling the items of every basket changes no figure."""
    fitted = recsmith.fit("personal-top-frequency", Dataset.from_path(Path(os.environ["RECSMITH_DATA"]) / "tafeng"))
    split = fitted.split()
    assert (split.figures["baskets"], len(split.test), split.figures["test_ties"]) == (73_355, 9_841, 0)
    found = fitted.evaluate("test").metrics
    shuffled = replace(fitted, log=shuffle_ties(fitted.log, seed=1))
    assert not np.array_equal(shuffled.log.histories.values, fitted.log.histories.values)
    assert shuffled.evaluate("test").metrics == found
    popular = recsmith.fit("popularity", Dataset.from_path(Path(os.environ["RECSMITH_DATA"]) / "tafeng"), settings=NEXT_BASKET)
    assert found["NDCG@10"] > popular.evaluate("test").metrics["NDCG@10"] + 0.03
