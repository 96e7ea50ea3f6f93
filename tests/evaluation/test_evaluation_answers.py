"""`evaluate_answer`: batches, shapes, what is written into the result."""

import numpy as np
import pytest

from recsmith.data import Cases, Histories
from recsmith.errors import DataError
from recsmith.evaluation import evaluate_answer, evaluate_lists, rank_scores
from recsmith.protocols import RankedLists


@pytest.fixture
def cases():
    random = np.random.default_rng(0)
    return Cases(
        np.arange(23),
        Histories.from_rows([random.integers(0, 30, random.integers(0, 6)) for _ in range(23)]),
        Histories.from_rows([random.integers(0, 30, random.integers(1, 3)) for _ in range(23)]),
    )


def by_user(cases, k):
    """A model whose scores depend on the user alone, seen items masked."""
    scores = np.cos(np.outer(cases.users + 1, np.arange(30) + 1)).astype(np.float32)
    return rank_scores(scores, k, exclude=cases.histories)


def test_batches_do_not_change_the_result(cases):
    results = [
        evaluate_answer(by_user, cases, item_count=30, ks=(5, 10), split="test", protocol={"name": "p"}, batch_size=size)
        for size in (4, 23, 512)
    ]
    for found in results[1:]:
        assert found.metrics == results[0].metrics
    whole = evaluate_lists(by_user(cases, 10), cases.targets, item_count=30, ks=(5, 10), histories=cases.histories)
    assert results[0].metrics == whole.metrics


def test_result_names_split_and_protocol_and_reports_progress(cases):
    calls = []
    found = evaluate_answer(
        by_user,
        cases,
        item_count=30,
        ks=(5,),
        split="validation",
        protocol={"name": "leave-one-out", "version": 1},
        batch_size=10,
        progress=lambda *call: calls.append(call),
    )
    assert (found.split, found.protocol["name"], found.cases) == ("validation", "leave-one-out", 23)
    assert calls == [("evaluating", 10, 23), ("evaluating", 20, 23), ("evaluating", 23, 23)]
    assert found.figures["already_seen"] == 0


def test_items_from_the_history_are_noticed(cases):
    def unmasked(cases, k):
        return rank_scores(np.tile(np.arange(30.0), (len(cases), 1)), k)

    found = evaluate_answer(unmasked, cases, item_count=30, ks=(30,), split="test", protocol={})
    distinct = sum(len(set(cases.histories.row(row))) for row in range(23))
    assert found.figures["already_seen"] == pytest.approx(distinct / (23 * 30))


def test_an_oracle_reaches_one(cases):
    def oracle(cases, k):
        items = np.full((len(cases), k), -1)
        for row in range(len(cases)):
            found = np.unique(cases.targets.row(row))
            items[row, : len(found)] = found
        return RankedLists(items, np.zeros(items.shape, dtype=np.float32))

    found = evaluate_answer(oracle, cases, item_count=30, ks=(5,), split="test", protocol={}).metrics
    assert [found[f"{name}@5"] for name in ("Recall", "NDCG", "MRR", "MAP", "Hit")] == pytest.approx([1] * 5)


def test_wrong_shape_empty_cases_and_cutoff_beyond_the_catalogue(cases):
    with pytest.raises(DataError, match=r"has shape \(23, 9\); allowed: \[23, 10\]"):
        evaluate_answer(lambda part, k: by_user(part, k - 1), cases, item_count=30, ks=(10,), split="test", protocol={})
    with pytest.raises(DataError, match="the test part has no cases"):
        evaluate_answer(by_user, cases.take(np.zeros(0, dtype=np.int64)), item_count=30, split="test", protocol={})
    with pytest.raises(DataError, match="k = 31 is above"):
        evaluate_answer(by_user, cases, item_count=30, ks=(31,), split="test", protocol={})
