"""`recsmith run SET`: every recipe of a set, resumable, in one table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import COLUMNS, Cli

from recsmith.recipe_files import recipe_names, set_names
from recsmith.run_set import load_set

QUICK = ("--set", "training.epochs=1")


@pytest.mark.parametrize("name", set_names())
def test_sets_name_recipes_that_exist(name: str) -> None:
    assert set(load_set(name).recipes) <= set(recipe_names())


def test_a_set_ends_in_a_table_and_goes_on_where_it_stopped(cli: Cli, shop: Path, tmp_path: Path) -> None:
    words = ("run", "baselines", "--data", shop, "--columns", COLUMNS, "--out", tmp_path / "set", *QUICK)
    rows = cli(*words, "--json").json
    assert [row["recipe"] for row in rows] == ["popularity", "item-knn", "ease", "sasrec"]
    assert all(0 <= row["metrics"]["Recall@10"] <= 1 for row in rows)
    assert json.loads((tmp_path / "set" / "set.json").read_text())["rows"] == rows
    written = {row["recipe"]: (Path(row["run"]) / "card.json").stat().st_mtime_ns for row in rows}

    again = cli(*words)
    assert "EASE" in again.out
    assert {name: (tmp_path / "set" / name / "card.json").stat().st_mtime_ns for name in written} == written


def test_other_settings_or_data_are_refused(cli: Cli, shop: Path, tmp_path: Path) -> None:
    words = ("run", "baselines", "--data", shop, "--columns", COLUMNS, "--out", tmp_path / "set")
    cli(*words, *QUICK)
    assert "is a run with other seed; give another --out" in cli(*words, *QUICK, "--seed", "1").error
    assert "is a run with other settings" in cli(*words, "--set", "training.epochs=2").error


def test_a_recipe_that_does_not_fit_the_data_is_a_row_that_says_so(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from recsmith import run_set as module
    from recsmith.data import Dataset, parse_columns

    monkeypatch.setattr(module, "load_set", lambda name: module.RecipeSet(name, "two", ("tiger", "popularity")))
    rows = module.run_set("two", Dataset.from_path(shop / "interactions.csv", columns=parse_columns(COLUMNS)), out=tmp_path / "set")
    assert "no catalogue" in str(rows[0].failure)
    assert rows[0].metrics == {}
    assert rows[1].metrics
    assert (tmp_path / "set" / "cost.png").stat().st_size > 1000
