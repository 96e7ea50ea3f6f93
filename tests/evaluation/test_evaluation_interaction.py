"""Slates under response models, rounds of feedback, and conversation turns."""

import numpy as np
import pytest

from recsmith.data import Cases, Histories
from recsmith.data.world import world
from recsmith.errors import DataError, UserError
from recsmith.evaluation import rank_scores
from recsmith.evaluation.conversation import Turn, Utterance, evaluate_turns
from recsmith.evaluation.drift import feedback_rounds, oracle_choice, oracle_utility
from recsmith.evaluation.slates import LogitResponse, PositionResponse, evaluate_slates, world_response
from recsmith.protocols import RankedLists


@pytest.fixture(scope="module")
def small_world():
    return world(users=120, items=60, events=2_400, seed=0)


def cases_of(count, histories=None):
    empty = Histories.from_rows([[]] * count)
    return Cases(np.arange(count), histories or empty, empty)


def fixed(items):
    rows = np.array(items)
    return lambda cases, k: RankedLists(rows[cases.users, :k], np.zeros((len(cases), k), dtype=np.float32))


# ---- slates ----------------------------------------------------------------------------------------------------------------


def test_logit_response_by_hand():
    """Two places, attention .5: half read one place, half both; equal utilities 0 and nothing 0 give 1/2 or 1/3 each."""
    respond = LogitResponse(lambda cases, items: np.zeros(items.shape), attention=0.5, no_click=0.0)
    np.testing.assert_allclose(respond(cases_of(1), np.array([[4, 7]])), [[0.5 / 2 + 0.5 / 3, 0.5 / 3]])


def test_logit_response_equals_simulation():
    random = np.random.default_rng(0)
    utility = random.standard_normal((1, 4))
    respond = LogitResponse(lambda cases, items: np.repeat(utility, len(items), axis=0), attention=0.7, no_click=0.3)
    exact = respond(cases_of(1), np.arange(4)[None])[0]
    draws = 200_000
    depth = np.minimum(random.geometric(0.3, draws), 4)
    weights = np.where(np.arange(4) < depth[:, None], np.exp(utility), 0.0)
    cumulative = np.cumsum(np.concatenate([weights, np.full((draws, 1), np.exp(0.3))], axis=1), axis=1)
    choice = (cumulative < random.random((draws, 1)) * cumulative[:, -1:]).sum(axis=1)
    np.testing.assert_allclose(exact, np.bincount(choice, minlength=5)[:4] / draws, atol=0.005)


def test_expected_clicks_of_slates():
    def respond(cases, items):
        return np.where(items == 1, 0.5, 0.1)

    settings = {"split": "test", "protocol": {"name": "p"}, "response_name": "toy", "batch_size": 1}
    found = evaluate_slates(fixed([[1, 2], [3, -1]]), cases_of(2), respond, size=2, **settings)
    np.testing.assert_allclose(found.per_case["Clicks@2"], [0.6, 0.1])
    np.testing.assert_allclose(found.per_case["Click-rank@2"], [0.7 / 0.6, 1])
    assert found.protocol["ranking"] == "slates of 2 under the response model toy"
    with pytest.raises(UserError, match="size = 0"):
        evaluate_slates(fixed([[1]]), cases_of(1), respond, size=0, split="test", protocol={}, response_name="toy")
    with pytest.raises(DataError, match=r"slates for 1 cases have shape \(1, 2\); allowed: \[1, 3\]"):
        evaluate_slates(fixed([[1, 2]]), cases_of(1), respond, size=3, split="test", protocol={}, response_name="toy")
    with pytest.raises(DataError, match="probabilities from 2 to 2; allowed: 0 to 1"):
        evaluate_slates(fixed([[1]]), cases_of(1), lambda cases, items: items + 1.0, size=1, split="test", protocol={}, response_name="toy")


def test_the_world_s_response_agrees_with_its_logged_clicks(small_world):
    """Exact probabilities of the logged slates add up to the clicks that were drawn, place by place."""
    slates, log = small_world.slates, small_world.dataset.log()
    size = small_world.parameters.slate_size
    items = log.items.indices(slates["item_id"]).reshape(-1, size)
    users = log.users.indices(slates["user_id"].gather_every(size))
    known = (items >= 0).all(axis=1)
    times = slates["timestamp"].gather_every(size).to_numpy().astype(float)[known]
    histories = Histories(np.zeros(known.sum(), dtype=np.int64), np.arange(known.sum() + 1), times)
    oracle = small_world.oracle.aligned(log)
    found = world_response(oracle)(Cases(users[known], histories, histories), items[known])
    clicks = slates["response"].to_numpy().reshape(-1, size)[known]
    error = np.sqrt(found.mean(axis=0) / known.sum())
    assert (np.abs(found.mean(axis=0) - clicks.mean(axis=0)) < 4 * error).all()


def test_position_model_is_recovered_from_clicks():
    random = np.random.default_rng(2)
    looked, liked = np.array([1.0, 0.6, 0.3]), random.uniform(0.1, 0.9, 12)
    places, items = random.integers(0, 3, 60_000), random.integers(0, 12, 60_000)
    clicks = random.random(60_000) < looked[places] * liked[items]
    found = PositionResponse.fit(places, items, clicks, item_count=13, rounds=200)
    np.testing.assert_allclose(found.looked_at, looked, atol=0.04)
    np.testing.assert_allclose(found.liked[:12], liked, atol=0.05)
    assert found.liked[12] == pytest.approx(found.liked[:12].mean())
    np.testing.assert_allclose(found(cases_of(1), np.array([[0, -1]])), [[found.liked[0], 0]])
    with pytest.raises(DataError, match="longer than the logged ones"):
        found(cases_of(1), np.zeros((1, 4), dtype=int))


# ---- rounds ----------------------------------------------------------------------------------------------------------------


def popularity_system(item_count):
    def fit(histories):
        scores = np.bincount(histories.values, minlength=item_count).astype(np.float32)
        return lambda cases, k: rank_scores(np.tile(scores, (len(cases), 1)), k, exclude=cases.histories)

    return fit


def test_popularity_makes_everybody_alike_and_the_oracle_serves_better(small_world):
    log = small_world.dataset.log()
    oracle = small_world.oracle.aligned(log)
    items = len(log.items)
    categories = Histories.from_rows([[item % 6] for item in range(items)])
    settings = {"item_count": items, "rounds": 3, "k": 5, "categories": categories, "utility": oracle_utility(oracle)}
    popular = feedback_rounds(popularity_system(items), oracle_choice(oracle), log.histories, **settings)
    truth = feedback_rounds(lambda histories: oracle.answer, oracle_choice(oracle), log.histories, **settings)
    assert [row.round for row in popular] == [0, 1, 2]
    assert all(a.homogeneity > b.homogeneity for a, b in zip(popular, truth, strict=True))
    assert all(a.coverage < b.coverage and a.gini > b.gini for a, b in zip(popular, truth, strict=True))
    assert all(a.utility < b.utility for a, b in zip(popular, truth, strict=True))
    assert all(row.taken == 1 and 0 <= row.unexpectedness <= 1 for row in popular)
    again = feedback_rounds(popularity_system(items), oracle_choice(oracle), log.histories, **settings)
    assert again == popular
    with pytest.raises(UserError, match="rounds = 0"):
        feedback_rounds(popularity_system(items), oracle_choice(oracle), log.histories, item_count=items, rounds=0)


def test_what_is_taken_joins_the_history():
    seen = []

    def fit(histories):
        seen.append([histories.row(row).tolist() for row in range(len(histories))])
        return fixed([[1, 2], [3, 4]])

    def choose(cases, items, random):
        return np.array([1, -1])

    rows = feedback_rounds(fit, choose, Histories.from_rows([[0], [5]]), item_count=6, rounds=2, k=2)
    assert seen == [[[0], [5]], [[0, 2], [5]]]
    assert rows[0].taken == 0.5
    assert np.isnan(rows[0].utility)


# ---- conversations ---------------------------------------------------------------------------------------------------------


def test_turns_are_measured_with_what_was_mentioned_apart():
    said = (Utterance("seeker", "something funny?"),)
    turns = [Turn(f"d{number // 2}", number % 2 + 1, said, (4,), (4, 1) if number % 2 else (2,)) for number in range(40)]

    def answer(batch, k):
        assert all(isinstance(turn, Turn) for turn in batch)
        items = np.tile(np.array([4, 2, 0]), (len(batch), 1))[:, :k]
        return RankedLists(items, np.zeros(items.shape, dtype=np.float32))

    found = evaluate_turns(answer, turns, item_count=6, split="test", ks=(1, 2))
    assert found.protocol["name"] == "conversation-turns"
    assert found.metrics["Recall@2"] == pytest.approx(0.75)
    assert found.metrics["Recall-repeated@1"] == 1
    assert found.metrics["Recall-fresh@2"] == pytest.approx(0.5)
    assert found.figures["Recall@2 turn 1"] == 1
    assert found.figures["Recall@2 turn 2"] == 0.5
    with pytest.raises(DataError, match="no conversation turns"):
        evaluate_turns(answer, [], item_count=6, split="test")
    with pytest.raises(DataError, match=r"allowed: \[1, 5\]"):
        evaluate_turns(lambda batch, k: answer(batch, 3), turns[:1], item_count=6, split="test", ks=(5,))
