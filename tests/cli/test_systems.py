"""The table of systems: complete, and its status computed from recipes and cards."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from recsmith.systems import ENOUGH_USERS, GROUPS, SURVEYS, System, summary, systems


def by_name(rows: list[System]) -> dict[str, System]:
    return {row.name: row for row in rows}


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    (tmp_path / "cards").mkdir()
    for name in ("tiger", "sasrec", "ease"):
        (tmp_path / f"{name}.toml").write_text(f'title = "{name.upper()}"\npaper = "paper of {name}"\n')
    return tmp_path


def write_card(recipes: Path, recipe: str, data: str, users: int, **metrics: float) -> None:
    card: dict[str, Any] = {"recipe": recipe, "data": {"name": data, "users": users}, "metrics": metrics}
    (recipes / "cards" / f"{recipe}-{data}.json").write_text(json.dumps(card))


def test_all_systems_of_all_groups_are_there(recipes: Path) -> None:
    rows = [row for row in systems(recipes=recipes) if row.id is not None]
    assert len(rows) == len({row.id for row in rows}) == 696
    assert {row.group for row in rows} == set(GROUPS) == set(range(1, 17))
    assert all(row.name and row.paper for row in rows)
    assert [row.id for row in rows if row.name in ("TIGER", "SASRec")] == ["2.21", "3.01"]


def test_citations_use_the_surveys_names(recipes: Path) -> None:
    for row in systems(recipes=recipes):
        if row.status == "planned":
            assert all(citation.strip().startswith(tuple(SURVEYS)) for citation in row.paper.split(";")), row
        assert not re.search(r"[†‡◊]", row.name)


def test_without_recipe_planned_with_recipe_partial_with_card_works(recipes: Path) -> None:
    write_card(recipes, "sasrec", "beauty", ENOUGH_USERS, **{"NDCG@10": 0.05})
    rows = by_name(systems(recipes=recipes))
    assert (rows["LC-Rec"].status, rows["LC-Rec"].recipe) == ("planned", None)
    assert (rows["TIGER"].status, rows["TIGER"].recipe, rows["TIGER"].reached) == ("partial", "tiger", {})
    assert (rows["SASRec"].status, rows["SASRec"].reached) == ("works", {"beauty": {"NDCG@10": 0.05}})
    assert rows["SASRec"].paper == "paper of sasrec"


def test_a_card_on_little_data_is_shown_but_proves_nothing(recipes: Path) -> None:
    write_card(recipes, "tiger", "small", ENOUGH_USERS - 1, **{"NDCG@10": 0.2})
    row = by_name(systems(recipes=recipes))["TIGER"]
    assert (row.status, row.reached) == ("partial", {"small": {"NDCG@10": 0.2}})


def test_a_variant_counts_for_its_system(recipes: Path) -> None:
    (recipes / "tiger-paper.toml").write_text('title = "TIGER"\npaper = "p"\n')
    write_card(recipes, "tiger-paper", "beauty", ENOUGH_USERS, **{"NDCG@10": 0.03})
    rows = systems(recipes=recipes)
    assert by_name(rows)["TIGER"].status == "works"
    assert [row.recipe for row in rows].count("tiger-paper") == 0


def test_recipes_that_no_survey_names_are_listed_too(recipes: Path) -> None:
    row = by_name(systems(recipes=recipes))["EASE"]
    assert (row.group, row.id, row.status) == (1, None, "partial")


def test_summary_counts_everything(recipes: Path) -> None:
    counts = summary(systems(recipes=recipes))
    assert sum(sum(count.values()) for count in counts.values()) == 697
    assert counts[3] == {"works": 0, "partial": 1, "planned": 25}


def test_every_recipe_of_ours_is_listed() -> None:
    from recsmith.recipe_files import recipe_names

    listed = {row.recipe for row in systems() if row.recipe}
    assert all(any(name == recipe or name.startswith(f"{recipe}-") for recipe in listed) for name in recipe_names())


def test_command(cli) -> None:
    rows = cli("systems", "--json").json
    assert {"name", "recipe", "group", "paper", "status", "reached"} <= set(rows[0])
    assert "TIGER" in cli("systems").out
    assert "FineRec" not in cli("systems").out
    assert "FineRec" in cli("systems", "--group", "4").out
    assert "Constitutional AI" in cli("systems", "--all").out
    assert "there is no group 17; allowed: 1 to 16" in cli("systems", "--group", "17").error
