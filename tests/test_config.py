"""Settings are strict: unknown keys and wrong values are one line with a suggestion."""

from __future__ import annotations

import pytest

from recsmith.config import Config, merge, parse_assignments
from recsmith.errors import ConfigError


class Inner(Config):
    dim: int = 4
    """Width."""


class Outer(Config):
    inner: Inner = Inner()
    """A part."""
    rate: float = 0.1
    """A rate."""


def test_unknown_key_suggests_the_close_one() -> None:
    with pytest.raises(ConfigError, match=r"unknown setting `rat`; did you mean `rate`\?"):
        Outer.parse({"rat": 1})


def test_unknown_nested_key_names_its_path() -> None:
    with pytest.raises(ConfigError, match=r"unknown setting `model\.inner\.dimm`; did you mean `dim`\?"):
        Outer.parse({"inner": {"dimm": 1}}, where="model")


def test_wrong_type_says_what_was_given() -> None:
    with pytest.raises(ConfigError, match="setting `rate` = 'fast'"):
        Outer.parse({"rate": "fast"})


def test_frozen_and_override() -> None:
    config = Outer()
    assert config.override(rate=0.5).rate == 0.5
    assert config.rate == 0.1
    with pytest.raises(ConfigError, match="rate"):
        config.override(rate="x")


def test_field_docstrings_are_the_help() -> None:
    assert Inner.model_fields["dim"].description == "Width."


def test_assignments() -> None:
    parsed = parse_assignments(["model.dim=64", "model.name=x y", "training.rate=1e-3", "flag=true", "list=[1, 2]"])
    assert parsed == {"model": {"dim": 64, "name": "x y"}, "training": {"rate": 1e-3}, "flag": True, "list": [1, 2]}
    with pytest.raises(ConfigError, match="not of the form key=value"):
        parse_assignments(["model.dim"])


def test_merge_is_deep_and_leaves_the_inputs() -> None:
    base = {"a": {"b": 1, "c": 2}, "d": 3}
    assert merge(base, {"a": {"b": 9}}) == {"a": {"b": 9, "c": 2}, "d": 3}
    assert base["a"]["b"] == 1
