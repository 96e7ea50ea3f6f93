"""Exploration knows the exact probability of what it shows; from such logs the worth of another policy comes out right."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import permutations

import numpy as np
import polars as pl
import pytest

from recsmith.data.world import World, world
from recsmith.data.world.slates import logging_weights, make_slates
from recsmith.errors import ConfigError, DataError, UserError
from recsmith.serving.experiments import Exploration, LoggedActions, doubly_robust, explore, first_place, ips, propensities, snips

ITEMS, SCORES = np.array([7, 3, 9, 1]), np.array([2.0, 1.5, 1.5, -1.0])
SETTINGS = [
    Exploration(),
    Exploration(kind="epsilon", epsilon=0.4),
    Exploration(kind="epsilon", epsilon=0.3, share=0.25),
    Exploration(kind="softmax", temperature=0.8),
    Exploration(kind="softmax", temperature=2.0, share=0.5, candidates=3),
]


# ---- exploration --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_probabilities_of_all_lists_sum_to_one_and_are_those_of_the_draws(settings: Exploration) -> None:
    exact = {shown: np.prod(propensities(ITEMS, SCORES, np.array(shown), settings)) for shown in permutations(ITEMS.tolist(), 2)}
    assert sum(exact.values()) == pytest.approx(1)
    random = np.random.default_rng(0)
    draws = [explore(ITEMS, SCORES, 2, settings, random) for _ in range(3_000)]
    seen = Counter(tuple(draw.items.tolist()) for draw in draws)
    for shown, probability in exact.items():
        assert seen[shown] / 3_000 == pytest.approx(probability, abs=5 * (probability / 3_000) ** 0.5 + 1e-12)
    assert all(draw.slate_propensity == pytest.approx(exact[tuple(draw.items.tolist())]) for draw in draws[:50])
    if settings.share < 1:
        assert np.mean([draw.explored for draw in draws]) == pytest.approx(settings.share, abs=0.04)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_first_place_has_the_probability_of_lists_that_begin_with_it(settings: Exploration) -> None:
    alone = [propensities(ITEMS, SCORES, ITEMS[[place]], settings)[0] for place in range(len(ITEMS))]
    np.testing.assert_allclose(first_place(SCORES, settings), alone, atol=1e-12)
    assert sum(alone) == pytest.approx(1)


def test_what_the_policy_never_shows_has_probability_zero() -> None:
    greedy = Exploration()
    assert propensities(ITEMS, SCORES, np.array([7, 9, 3]), greedy).tolist() == [1, 0, 0]
    assert propensities(ITEMS, SCORES, np.array([7, 55, 3]), SETTINGS[3])[1:].tolist() == [0, 0]
    assert propensities(ITEMS, SCORES, np.array([7, 7]), SETTINGS[3])[1] == 0
    assert propensities(ITEMS, SCORES, np.array([1, 7]), SETTINGS[4]).tolist() == [0, 0]  # not among its candidates


def test_mistakes_of_exploration() -> None:
    with pytest.raises(UserError, match="k = 5 does not fit 4 candidates"):
        explore(ITEMS, SCORES, 5, SETTINGS[1], np.random.default_rng(0))
    with pytest.raises(UserError, match="best first"):
        explore(ITEMS, SCORES[::-1], 2, SETTINGS[1], np.random.default_rng(0))
    with pytest.raises(UserError, match="a candidate is there twice"):
        explore(np.array([1, 1]), np.array([2.0, 1.0]), 1, SETTINGS[1], np.random.default_rng(0))
    with pytest.raises(ConfigError, match=r"unknown setting `temprature`; did you mean `temperature`\?"):
        Exploration.parse({"kind": "softmax", "temprature": 2})


# ---- estimates on the world, whose truth is known -------------------------------------------------------------------------


@cache
def small_world() -> World:
    parameters = world(20, 20, 200).parameters.override(slates_per_user=30, slate_size=2, no_click=1.5)
    return world(1_200, 40, 8_000, seed=4, parameters=parameters)


@cache
def logged_slates() -> tuple[pl.DataFrame, float]:
    """One row per slate: user, clicks, served and target probability; and the true click rate of the target policy."""
    process = small_world().oracle.process
    target = replace(process, parameters=process.parameters.override(logging_tilt=1.2, logging_boost=2.0))
    rows = make_slates(process, seed=1).sort("slate_id", "position")
    width = process.parameters.slate_size
    items = small_world().catalogue.frame["item_id"].to_list()
    shown = rows["item_id"].replace_strict(items, list(range(len(items)))).to_numpy().reshape(-1, width)
    users = small_world().users["user_id"].to_list()
    user = rows["user_id"].replace_strict(users, list(range(len(users)))).to_numpy()[::width]
    weights = np.stack([logging_weights(target, one) for one in range(len(users))])[user]
    picked = np.take_along_axis(weights, shown, axis=1)
    left = weights.sum(axis=1, keepdims=True) - np.cumsum(picked, axis=1) + picked
    frame = pl.DataFrame(
        {
            "user": user,
            "clicks": rows["response"].to_numpy().reshape(-1, width).sum(axis=1),
            "logged": rows["slate_propensity"].to_numpy()[::width],
            "target": np.prod(picked / left, axis=1),
        }
    )
    plenty = replace(target, parameters=target.parameters.override(slates_per_user=80))
    truth = make_slates(plenty, seed=2).group_by("slate_id").agg(pl.col("response").sum())["response"].mean()
    assert isinstance(truth, float)
    return frame, truth


def as_log(frame: pl.DataFrame) -> LoggedActions:
    columns = (frame[name].to_numpy() for name in ("clicks", "logged", "target", "user"))
    return LoggedActions(*columns)


@pytest.mark.parametrize("method", [ips, snips])
def test_the_target_policy_is_estimated_from_the_log_of_another(method) -> None:
    frame, truth = logged_slates()
    estimate = method(as_log(frame))
    naive = frame["clicks"].mean()
    print(f"{estimate.method}: {estimate.value:.4f} ± {estimate.standard_error:.4f}, truth {truth:.4f}, the log itself {naive:.4f}")
    assert abs(estimate.value - truth) < 3 * estimate.standard_error
    assert abs(naive - truth) > 6 * estimate.standard_error
    assert estimate.mean_weight == pytest.approx(1, abs=0.05)
    assert 1_000 < estimate.effective_rows < len(frame)
    assert estimate.warnings == ()


def test_intervals_cover_the_truth() -> None:
    frame, truth = logged_slates()
    parts = [as_log(part) for part in frame.with_columns(part=pl.col("user") // 12).partition_by("part")]
    for method in (ips, snips):
        covered = np.mean([one.low <= truth <= one.high for one in map(method, parts)])
        values = np.array([method(part).value for part in parts])
        print(f"{method.__name__}: {covered:.2f} of {len(parts)} intervals, mean {values.mean():.4f} of {truth:.4f}")
        assert covered >= 0.87
        assert abs(values.mean() - truth) < 3.5 * values.std(ddof=1) / len(values) ** 0.5


def test_a_clipped_estimate_and_wrong_propensities_say_so() -> None:
    frame, _ = logged_slates()
    clipped = ips(as_log(frame), clip=2.0)
    assert clipped.largest_weight == 2
    assert "of the weights were cut" in clipped.warnings[0]
    wrong = ips(as_log(frame.with_columns(logged=pl.col("logged") ** 0.9)))
    assert "the mean weight is" in wrong.warnings[0]
    assert "worth only" in ips(as_log(frame.head(60))).warnings[-1]


# ---- a bandit that can be summed by hand ------------------------------------------------------------------------------

REWARD = np.array([[0.1, 0.5, 0.9], [0.7, 0.2, 0.3]])
SERVED = np.array([[0.6, 0.3, 0.1], [0.2, 0.4, 0.4]])
WANTED = np.array([[0.1, 0.2, 0.7], [0.9, 0.1, 0.0]])
TRUTH = float((WANTED * REWARD).sum(axis=1).mean())


def bandit(rows: int, random: np.random.Generator) -> tuple[LoggedActions, np.ndarray, np.ndarray]:
    """A log, with context and action of each row."""
    context = random.integers(0, 2, rows)
    action = (np.cumsum(SERVED[context], axis=1) < random.random((rows, 1))).sum(axis=1)
    reward = (random.random(rows) < REWARD[context, action]).astype(float)
    return LoggedActions(reward, SERVED[context, action], WANTED[context, action]), context, action


@pytest.mark.parametrize("model", ["right", "wrong"])
def test_doubly_robust_is_unbiased_with_any_model_and_sharper_with_a_good_one(model: str) -> None:
    random = np.random.default_rng(0)
    belief = REWARD if model == "right" else random.random(REWARD.shape)
    errors, others = [], []
    for _ in range(500):
        log, context, action = bandit(200, random)
        estimate = doubly_robust(log, belief[context, action], (WANTED * belief).sum(axis=1)[context])
        errors.append(estimate.value - TRUTH)
        others.append(ips(log).value - TRUTH)
    for found in (errors, others):
        assert abs(np.mean(found)) < 4 * np.std(found) / 500**0.5
    if model == "right":
        assert np.std(errors) < 0.9 * np.std(others)


def test_snips_ignores_a_shift_of_all_rewards() -> None:
    log, _, _ = bandit(500, np.random.default_rng(1))
    moved = replace(log, rewards=log.rewards + 10)
    assert snips(moved).value == pytest.approx(snips(log).value + 10)
    assert snips(moved).standard_error == pytest.approx(snips(log).standard_error)
    assert ips(moved).standard_error > 3 * ips(log).standard_error


def test_rows_of_one_person_are_not_independent() -> None:
    log, _, _ = bandit(200, np.random.default_rng(2))
    twice = LoggedActions(*(np.repeat(column, 4) for column in (log.rewards, log.logged, log.target)), units=np.repeat(np.arange(200), 4))
    assert ips(twice).standard_error == pytest.approx(ips(log).standard_error)
    assert ips(replace(twice, units=None)).standard_error == pytest.approx(ips(log).standard_error / 2, rel=0.01)


def test_mistakes_of_the_log() -> None:
    good = np.array([0.5, 0.5])
    with pytest.raises(DataError, match="row 1 was served with probability 0"):
        LoggedActions(good, np.array([0.5, 0.0]), good)
    with pytest.raises(DataError, match=r"`target` holds 0.5 … 1.5; probabilities are from 0 to 1"):
        LoggedActions(good, good, np.array([0.5, 1.5]))
    with pytest.raises(DataError, match="as many as rewards"):
        LoggedActions(good, np.ones(3), good)
    with pytest.raises(DataError, match="1 logged rows are too few"):
        LoggedActions(good[:1], good[:1], good[:1])
    with pytest.raises(DataError, match="would never have shown any logged answer"):
        snips(LoggedActions(good, good, np.zeros(2)))
    with pytest.raises(UserError, match="clip = 0 does not work"):
        ips(LoggedActions(good, good, good), clip=0)
    with pytest.raises(DataError, match="`predicted` of shape"):
        doubly_robust(LoggedActions(good, good, good), np.ones(3), good)
