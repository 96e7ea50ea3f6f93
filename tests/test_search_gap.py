"""The beam gap of a run: figures by hand, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.decoding.test_decoding_how_to import small_recommender

from recsmith.decoding import score_all, top_k
from recsmith.errors import UserError
from recsmith.protocols import Limits
from recsmith.recommender import Recommender
from recsmith.search_gap import measure_search_gap
from recsmith.training import to_batch


@pytest.fixture(scope="module")
def recommender() -> Recommender:
    return small_recommender()


def with_beams(recommender: Recommender, beams: int) -> Recommender:
    return replace(recommender, recipe=recommender.recipe.with_settings({"decoding": {"beams": beams}}))


def test_the_figures_are_those_of_the_lists_that_the_run_answers(recommender: Recommender) -> None:
    found = measure_search_gap(recommender, 1000, split="validation")
    cases = recommender.split().validation
    batch = to_batch(cases.histories, users=cases.users)
    exact = top_k(score_all(recommender.model, batch, recommender.trie), 10, limits=Limits(exclude=cases.histories)).items
    lists = recommender.answer(cases, 10).items
    assert (found["cases"], found["k"], found["beams"]) == (len(cases), 10, 10)
    shared = [len(set(one) & set(other)) / 10 for one, other in zip(lists, exact, strict=True)]
    assert found["metrics"]["Overlap@10"] == pytest.approx(np.mean(shared))
    assert 0 < found["metrics"]["Overlap@10"] < 1
    hits = [np.isin(cases.targets.row(row), exact[row]).mean() for row in range(len(cases))]
    assert found["metrics"]["ExactRecall@10"] == pytest.approx(np.mean(hits))


def test_as_many_beams_as_items_miss_nothing_and_some_people_are_enough(recommender: Recommender) -> None:
    found = measure_search_gap(with_beams(recommender, recommender.items), 7)
    assert found["cases"] == 7
    assert (found["metrics"]["Overlap@10"], found["metrics"]["RecallGap@10"]) == (1, 0)


def test_mistakes_are_named(recommender: Recommender) -> None:
    with pytest.raises(UserError, match="the beam gap of 0 people says nothing"):
        measure_search_gap(recommender, 0)
