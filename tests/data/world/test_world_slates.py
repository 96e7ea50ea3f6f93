"""Logged slates: exact propensities, plausible responses."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import polars as pl
import pytest

from recsmith.data.world import WorldParameters, world
from recsmith.data.world.slates import logging_weights, make_slates
from recsmith.errors import UserError


def plackett_luce(weights: np.ndarray, slate: tuple[int, ...]) -> float:
    left, probability = weights.sum(), 1.0
    for item in slate:
        probability *= weights[item] / left
        left -= weights[item]
    return float(probability)


def test_propensities_are_those_of_the_policy() -> None:
    made = world(users=40, items=60, events=400)
    for (_,), slate in made.slates.group_by("slate_id", maintain_order=True):
        user = int(slate["user_id"][0][1:])
        items = tuple(int(item[1:]) for item in slate["item_id"])
        assert len(set(items)) == 5
        assert slate["position"].to_list() == [0, 1, 2, 3, 4]
        expected = plackett_luce(logging_weights(made.oracle.process, user), items)
        assert slate["slate_propensity"].to_list() == pytest.approx([expected] * 5)
        assert slate["propensity"].product() == pytest.approx(expected)


def test_propensities_sum_to_one_over_all_slates() -> None:
    process = world(users=5, items=20, events=30, parameters=WorldParameters(slate_size=2)).oracle.process
    weights = logging_weights(process, 0)
    assert sum(plackett_luce(weights, slate) for slate in permutations(range(20), 2)) == pytest.approx(1)


def test_slates_are_shown_as_often_as_their_propensity_says() -> None:
    parameters = WorldParameters(slate_size=2, slates_per_user=20_000, logging_tilt=2.0)
    made = world(users=2, items=20, events=10, parameters=parameters)
    slates = made.slates.filter(pl.col("user_id") == "u00000")
    items = slates["item_id"].str.slice(1).cast(pl.Int64).to_numpy().reshape(-1, 2)
    weights = logging_weights(made.oracle.process, 0)
    for slate, count in Counter(map(tuple, items.tolist())).most_common(10):
        expected = plackett_luce(weights, slate)
        assert count / len(items) == pytest.approx(expected, abs=4.5 * np.sqrt(expected / len(items)))


def test_people_click_what_they_like_and_what_stands_above() -> None:
    made = world(users=3000, items=800, events=30_000)
    slates = made.slates
    clicks = slates.group_by("slate_id").agg(pl.col("response").sum())["response"]
    assert clicks.max() == 1
    assert 0.2 < clicks.mean() < 0.8
    by_position = slates.group_by("position").agg(pl.col("response").mean()).sort("position")["response"].to_list()
    assert by_position[0] > 1.3 * by_position[4]
    process = made.oracle.process
    users = slates["user_id"].str.slice(1).cast(pl.Int64).to_numpy()
    items = slates["item_id"].str.slice(1).cast(pl.Int64).to_numpy()
    suits = process.people.affinity(users, np.full(len(users), 0.5), process.shelf, process.shelf.cluster[items])
    clicked = slates["response"].to_numpy() == 1
    assert suits[clicked].mean() > suits[~clicked].mean() + 0.5


def test_slates_larger_than_the_catalogue_are_refused() -> None:
    process = world(users=5, items=20, events=30, parameters=WorldParameters(slate_size=30)).oracle.process
    with pytest.raises(UserError, match="slates of 30 works do not fit a world of 20 items"):
        make_slates(process, 0)
