"""The example of docs/how-to/new-model.md runs, conforms, and its recipe is one."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from recsmith.errors import ConfigError
from recsmith.models import MODELS
from recsmith.testing import ScoreModelTests
from recsmith.training.search_space import SearchSpace

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "new-model.md").read_text(encoding="utf-8")


def block(language: str, number: int) -> str:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[number]


def module(name: str, text: str) -> ModuleType:
    made = ModuleType(name)
    exec(compile(text, f"new-model.md: {name}", "exec"), made.__dict__)
    return made


fading = module("fading", block("python", 0))
with pytest.MonkeyPatch.context() as patch:
    patch.setitem(sys.modules, "fading", fading)
    TestFading = module("test_fading", block("python", 1)).TestFading


def test_the_page_shows_a_suite() -> None:
    assert issubclass(TestFading, ScoreModelTests)


def test_recipe_and_entry_point_fit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    points = tomllib.loads(block("toml", 0))["project"]["entry-points"]["recsmith.models"]
    monkeypatch.setattr(MODELS, "_plugins", lambda: points)
    monkeypatch.setitem(sys.modules, "fading", fading)
    recipe = tomllib.loads(block("toml", 1))
    model = MODELS.get(recipe["model"].pop("name"))
    assert model.Config.parse(recipe["model"]).dim == 64
    assert len(SearchSpace.parse(recipe["search"]).dimensions) == 2
    with pytest.raises(ConfigError, match="did you mean `fade`"):
        model.Config.parse({"fades": 1})
