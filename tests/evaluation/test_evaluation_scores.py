"""AUC, log-loss, rating errors and calibration: equal to scikit-learn, and to values worked out by hand."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from recsmith.data import Cases, Histories
from recsmith.errors import DataError, UserError
from recsmith.evaluation.calibration import hit_rate_by_score, reliability_curve, score_comparability
from recsmith.evaluation.scores import auc, evaluate_ratings, grouped_auc, log_loss, rating_errors


@st.composite
def scored(draw):
    """Scores from few values, so that there are ties, with labels and users."""
    count = draw(st.integers(4, 60))
    scores = draw(st.lists(st.integers(-3, 3), min_size=count, max_size=count))
    labels = draw(st.lists(st.integers(0, 1), min_size=count, max_size=count))
    users = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    return np.array(scores, dtype=float) / 7, np.array(labels), np.array(users)


@settings(max_examples=50, deadline=None)
@given(scored())
def test_auc_equals_scikit_learn(drawn):
    scores, labels, users = drawn
    assume(0 < labels.sum() < len(labels))
    assert auc(scores, labels) == pytest.approx(sklearn.roc_auc_score(labels, scores), abs=1e-12)
    found = grouped_auc(scores, labels, users)
    expected, weights = [], []
    for user in np.unique(users):
        own = users == user
        if 0 < labels[own].sum() < own.sum():
            expected.append(sklearn.roc_auc_score(labels[own], scores[own]))
            weights.append(own.sum())
    np.testing.assert_allclose(found.per_user[~np.isnan(found.per_user)], expected, atol=1e-12)
    if expected:
        assert found.value == pytest.approx(np.average(expected, weights=weights), abs=1e-12)
    else:
        assert np.isnan(found.value)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=2, max_size=40))
def test_log_loss_equals_scikit_learn(pairs):
    probabilities, outcomes = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    assert log_loss(probabilities, outcomes).mean() == pytest.approx(sklearn.log_loss(outcomes, probabilities, labels=[0, 1]), abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=40))
def test_rating_errors_equal_scikit_learn(pairs):
    predicted, actual = (np.array(column) for column in zip(*pairs, strict=True))
    found = rating_errors(predicted, actual)
    assert found.rmse == pytest.approx(sklearn.root_mean_squared_error(actual, predicted), abs=1e-9)
    assert found.mae == pytest.approx(sklearn.mean_absolute_error(actual, predicted), abs=1e-9)


def test_ratings_of_a_system_are_measured_per_person_too():
    targets = Histories(np.array([1, 2, 3]), np.array([0, 2, 3]), weights=np.array([4.0, 2.0, 5.0]))
    cases = Cases(np.arange(2), Histories.from_rows([[0], [0]]), targets)
    found = evaluate_ratings(
        lambda asked: np.full(len(asked.targets.values), 3.0), cases, split="test", protocol={"name": "p"}, batch_size=1
    )
    assert found.metrics["MAE"] == pytest.approx(4 / 3)
    assert found.metrics["RMSE"] == pytest.approx(np.sqrt(2))
    assert found.per_case["MAE"].tolist() == [1, 2]
    assert found.protocol["ranking"].startswith("none")
    with pytest.raises(DataError, match=r"3 held-out ratings got predictions of shape \(2,\)"):
        evaluate_ratings(lambda asked: np.zeros(2), cases, split="test", protocol={})
    bare = Cases(cases.users, cases.histories, Histories(targets.values, targets.offsets))
    with pytest.raises(DataError, match=r"no held-out ratings; .* `explicit-rating`"):
        evaluate_ratings(lambda asked: np.zeros(3), bare, split="test", protocol={})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: auc(np.array([np.nan, 1]), np.array([0, 1])), "the scores hold nan"),
        (lambda: auc(np.array([0.0, 1]), np.array([0, 2])), "labels must be 0 or 1"),
        (lambda: auc(np.array([0.0, 1]), np.array([0])), "2 scores, 1 labels"),
        (lambda: log_loss(np.array([1.5]), np.array([1])), "give numbers from 0 to 1"),
        (lambda: rating_errors(np.array([np.inf]), np.array([1.0])), "finite prediction for every rating"),
        (lambda: rating_errors(np.array([]), np.array([])), "at least one"),
    ],
)
def test_scores_that_do_not_work(call, message):
    with pytest.raises(DataError, match=message):
        call()


# ---- calibration -----------------------------------------------------------------------------------------------------------


def test_reliability_by_hand():
    """Bins 0 … .5 (predictions .2, .4; one of two true) and .5 … 1 (.5, 1; both true): gaps .2 and .25."""
    found = reliability_curve(np.array([0.2, 0.4, 0.5, 1.0]), np.array([1, 0, 1, 1]), bins=2)
    assert [(row.count, row.predicted, row.observed) for row in found.rows] == [(2, pytest.approx(0.3), 0.5), (2, 0.75, 1.0)]
    assert found.ece == pytest.approx((0.2 * 2 + 0.25 * 2) / 4)
    assert found.mce == pytest.approx(0.25)
    assert found.brier == pytest.approx((0.64 + 0.16 + 0.25 + 0) / 4)
    assert found.as_dict()["rows"][1]["low"] == 0.5


def test_true_probabilities_are_calibrated_and_boasting_ones_are_not():
    random = np.random.default_rng(0)
    truth = random.random(50_000)
    outcomes = (random.random(50_000) < truth).astype(int)
    assert reliability_curve(truth, outcomes).ece < 0.01
    assert reliability_curve(truth, outcomes, by="count").ece < 0.01
    assert reliability_curve(truth**0.5, outcomes).ece > 0.1


def test_bins_of_equal_counts_keep_equal_values_together():
    found = hit_rate_by_score(np.array([[1.0, 1.0, 1.0], [2.0, 3.0, -np.inf]]), np.array([[0, 0, 1], [1, 1, 0]]), bins=5)
    assert [(row.count, row.predicted) for row in found] == [(3, 1.0), (1, 2.0), (1, 3.0)]
    assert found[0].observed == pytest.approx(1 / 3)


def test_scores_that_differ_by_person_cannot_be_compared_across_people():
    random = np.random.default_rng(1)
    users = np.repeat(np.arange(50), 20)
    labels = random.integers(0, 2, 1_000)
    same = labels + random.normal(0, 0.5, 1_000)
    shifted = same + 10 * users
    honest, skewed = score_comparability(same, labels, users), score_comparability(shifted, labels, users)
    assert honest.gauc == pytest.approx(skewed.gauc)
    assert abs(honest.gap) < 0.02
    assert skewed.gap > 0.3
    assert honest.between_people < 0.1 < 0.9 < skewed.between_people


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: reliability_curve(np.array([2.0]), np.array([1])), DataError, "for plain scores use hit_rate_by_score"),
        (lambda: reliability_curve(np.array([]), np.array([])), DataError, "at least one"),
        (lambda: reliability_curve(np.array([0.5]), np.array([1]), bins=0), UserError, "bins = 0"),
        (lambda: hit_rate_by_score(np.array([[-np.inf]]), np.array([[0]])), DataError, "no listed item has a finite score"),
    ],
)
def test_calibration_that_cannot_be_drawn(call, error, message):
    with pytest.raises(error, match=message):
        call()
