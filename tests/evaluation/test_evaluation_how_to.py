"""The page docs/how-to/measure-anything.md runs from top to bottom, and every protocol of its table carries a whole run."""

import re
from pathlib import Path

import pytest

from recsmith import Dataset, fit
from recsmith.data import SplitConfig

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "measure-anything.md").read_text(encoding="utf-8")


def test_the_page_runs(capsys):
    names = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL):
        exec(compile(block, "measure-anything.md", "exec"), names)
    shown = capsys.readouterr().out
    assert "lower (adjusted p = " in shown  # chance is worse than popularity
    assert names["audit"].disadvantaged == "a girl"
    assert "BLEU-4" in shown


def test_the_page_names_every_protocol():
    table = PAGE[PAGE.index("## Protocols") :]
    for name in SplitConfig.model_json_schema()["properties"]["name"]["enum"]:
        assert f"`{name}`" in table


@pytest.fixture(scope="module")
def data():
    return Dataset.from_world(users=120, items=50, events=2_400)


@pytest.mark.parametrize("name", sorted({*SplitConfig.model_json_schema()["properties"]["name"]["enum"]} - {"explicit-rating"}))
def test_every_protocol_of_lists_carries_a_run(data, name):
    recommender = fit("item-knn", data, settings={"split": {"name": name}})
    found = recommender.evaluate()
    assert found.protocol["hash"] == SplitConfig(name=name).hash
    assert found.cases > 0
    assert not [check.name for check in found.checks if check.passed is False]
    if name in ("session-prefixes", "next-basket"):
        assert found.figures["already_seen"] > 0  # what was seen may come again
    else:
        assert found.figures["already_seen"] == 0


def test_the_protocol_of_ratings_carries_a_run(data):
    found = fit("rating-means", data, settings={"split": {"name": "explicit-rating"}}).evaluate()
    assert found.cases > 0
    assert set(found.metrics) == {"RMSE", "MAE"}
    assert found.checks
    assert not [check.name for check in found.checks if check.passed is False]
