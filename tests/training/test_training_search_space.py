from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsmith.errors import ConfigError
from recsmith.training.search_space import SearchSpace


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"choises": [1]}, r"unknown setting `model.dim.choises`; did you mean `choices`"),
        ({"low": 1, "hihg": 3}, r"unknown setting `model.dim.hihg`; did you mean `high`"),
        ({"choices": [1], "low": 1}, r"unknown setting `model.dim.low`"),
        ({"choices": []}, r"`model.dim.choices` = \[\]"),
        ({"choices": [1, 2, 1]}, r"names a value twice"),
        ({"low": 1}, r"`model.dim.high`"),
        ({"low": 3, "high": 1}, r"low = 3 must be below high = 1"),
        ({"low": 0, "high": 1, "log": True}, r"must start above 0"),
        ({"low": 1.0, "high": 2.0, "log": True, "step": 0.5}, r"either `log` or `step`"),
        ({"low": 0, "high": 1, "step": 0.3}, r"not a whole number of steps"),
        ({"low": "a", "high": 1}, r"`model.dim.low"),
        ([1, 2], r"search space of `model.dim` is \[1, 2\]; give"),
    ],
)
def test_mistakes_are_explained(description: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SearchSpace.parse({"model.dim": description})


def test_an_empty_space_is_refused() -> None:
    with pytest.raises(ConfigError, match="the search space is empty"):
        SearchSpace.parse({})


def test_whole_bounds_give_whole_values() -> None:
    space = SearchSpace.parse({"a": {"low": 1, "high": 9}, "b": {"low": 0, "high": 0.6, "step": 0.1}, "c": {"low": 0.0, "high": 1}})
    kinds = {key: type(value).__name__ for key, value in space.distributions().items()}
    assert kinds == {"a": "IntDistribution", "b": "IntDistribution", "c": "FloatDistribution"}
    assert space.decode({"a": 3, "b": 3, "c": 0.25}) == {"a": 3, "b": 0.3, "c": 0.25}


def test_choices_may_be_anything_and_truth_is_not_one() -> None:
    space = SearchSpace.parse({"a": {"choices": [1, True, None, "x", [600, 200]]}})
    for value in (1, True, None, "x", [600, 200]):
        coordinates = space.encode({"a": value})
        assert coordinates is not None
        decoded = space.decode(coordinates)["a"]
        assert decoded == value
        assert type(decoded) is type(value)


def test_settings_outside_have_no_coordinates() -> None:
    space = SearchSpace.parse({"a": {"choices": [1, 2]}, "b": {"low": 0.0, "high": 1.0, "step": 0.25}})
    assert space.encode({"a": 1, "b": 0.5}) == {"a": 0, "b": 2}
    for settings in ({"a": 3, "b": 0.5}, {"a": 1, "b": 0.3}, {"a": 1, "b": 2}, {"a": 1}, {"a": 1, "b": "x"}, {}):
        assert space.encode(settings) is None


@given(st.floats(1e-6, 1e3), st.floats(1e-6, 1e3), st.booleans())
def test_table_and_parse_are_inverse(first: float, second: float, log: bool) -> None:
    low, high = sorted([first, second + 1e3])
    space = SearchSpace.parse({"x.y": {"low": low, "high": high, "log": log}, "z": {"choices": [first, "second"]}})
    assert SearchSpace.parse(space.table()) == space
