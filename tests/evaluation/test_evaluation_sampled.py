"""Sampled ranking: labelled, exact where everything is drawn, unbiased where little is."""

import numpy as np
import pytest

from recsmith.data import Cases, Histories
from recsmith.errors import DataError, UserError
from recsmith.evaluation import evaluate_answer, rank_scores
from recsmith.evaluation.sampled import evaluate_sampled

ITEMS = 400


@pytest.fixture(scope="module")
def problem():
    """A model with fixed scores, and one target per person."""
    random = np.random.default_rng(0)
    scores = random.standard_normal((300, ITEMS))
    targets = np.array([np.argsort(-row)[random.integers(0, 60)] for row in scores])
    histories = Histories.from_rows([[int(np.argmin(row))] for row in scores])
    return scores, Cases(np.arange(300), histories, Histories(targets, np.arange(301)))


def of(scores):
    return lambda cases, candidates: scores[cases.users[:, None], candidates]


def sampled(problem, **settings):
    scores, cases = problem
    return evaluate_sampled(of(scores), cases, item_count=ITEMS, split="test", protocol={"name": "leave-one-out", "version": 1}, **settings)


def test_the_label_is_in_names_protocol_and_hash(problem):
    found = sampled(problem, negatives=20, ks=(5,))
    assert set(found.metrics) == {"Sampled-Recall@5", "Sampled-NDCG@5", "Sampled-MRR@5", "Estimated-Recall@5", "Estimated-NDCG@5"}
    assert found.protocol["ranking"] == "sampled: each target against 20 items drawn uniformly"
    assert found.protocol["hash"] != sampled(problem, negatives=50, ks=(5,)).protocol["hash"]
    assert found.cases == len(found.per_case["Sampled-Recall@5"]) == 300


def test_sampling_flatters_and_the_estimate_comes_near_full_ranking(problem):
    scores, cases = problem

    def answer(asked, k):
        return rank_scores(scores[asked.users].astype(np.float32), k, exclude=asked.histories)

    full = evaluate_answer(answer, cases, item_count=ITEMS, ks=(40,), split="test", protocol={}).metrics["Recall@40"]
    found = sampled(problem, negatives=100, ks=(40,)).metrics
    assert found["Sampled-Recall@40"] == 1
    assert found["Estimated-Recall@40"] == pytest.approx(full, abs=0.06)


def test_what_the_person_had_and_wants_is_never_drawn(problem):
    _, cases = problem
    two = np.stack([cases.targets.values, (cases.targets.values + 1) % ITEMS], axis=1)
    more = Cases(cases.users, cases.histories, Histories(two.reshape(-1), np.arange(301) * 2))
    shown = []

    def score(asked, candidates):
        shown.append((asked.users, candidates))
        return np.zeros(candidates.shape)

    found = evaluate_sampled(score, more, item_count=ITEMS, split="test", protocol={}, negatives=200)
    for users, candidates in shown:
        for user, row in zip(users, candidates, strict=True):
            forbidden = {*more.histories.row(user).tolist(), *more.targets.row(user).tolist()}
            assert not forbidden & set(row[1:].tolist())
    assert found.figures["targets"] == 600
    assert found.metrics["Sampled-Recall@20"] == 0  # a constant score is no success


def test_popular_items_are_drawn_by_their_popularity(problem):
    shares = np.zeros(ITEMS)
    shares[:50] = 1
    seen = []
    found = evaluate_sampled(
        lambda cases, candidates: seen.append(candidates[:, 1:]) or np.zeros(candidates.shape),
        problem[1],
        item_count=ITEMS,
        split="test",
        protocol={},
        popularity=shares,
        negatives=30,
    )
    assert max(part.max() for part in seen) < 50
    assert "Estimated-Recall@10" not in found.metrics
    assert found.protocol["ranking"].endswith("drawn by popularity")


def test_what_cannot_be_sampled(problem):
    scores, cases = problem
    with pytest.raises(UserError, match="negatives = 0 does not work"):
        sampled(problem, negatives=0)
    with pytest.raises(DataError, match="got scores of shape"):
        evaluate_sampled(lambda cases, candidates: np.zeros(3), cases, item_count=ITEMS, split="test", protocol={})
    full = Cases(np.zeros(1, dtype=int), Histories.from_rows([list(range(4))]), Histories.from_rows([[4]]))
    with pytest.raises(DataError, match="nothing is left to draw"):
        evaluate_sampled(of(scores), full, item_count=5, split="test", protocol={}, negatives=2)
    empty = Cases(np.zeros(1, dtype=int), Histories.from_rows([[]]), Histories.from_rows([[]]))
    with pytest.raises(DataError, match="no target in the catalogue"):
        evaluate_sampled(of(scores), empty, item_count=5, split="test", protocol={})
