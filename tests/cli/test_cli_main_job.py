"""The main job from the command line: look, prepare, run, evaluate, recommend, show the card."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from tests.cli.conftest import COLUMNS


def test_inspect(cli, shop: Path) -> None:
    report = cli("data", "inspect", shop, "--columns", COLUMNS, "--json").json
    assert (report["users"], report["items"], report["events"], report["catalogue_items"]) == (30, 12, 240, 12)
    out = cli("data", "inspect", shop, "--columns", COLUMNS).out
    assert "user_id = customer_no" in out
    assert "colour (category)" in out


def test_prepare_then_run_from_the_prepared_folder(cli, shop: Path, tmp_path: Path) -> None:
    facts = cli("data", "prepare", shop, "--columns", COLUMNS, "--out", tmp_path / "ready", "--json").json
    assert (facts["users"], facts["items"], facts["events"]) == (30, 12, 240)
    fitted = cli("fit", "popularity", "--data", tmp_path / "ready", "--out", tmp_path / "run", "--json").json
    assert fitted["data"]["hash"] == facts["hash"]
    assert "next: " in cli("data", "prepare", shop, "--columns", COLUMNS, "--out", tmp_path / "ready").out


def test_run_prints_ours_paper_and_difference(cli, shop: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        'title = "Mine"\npaper = "Somebody, 2020"\n[model]\nname = "popularity"\n'
        '[reported.shop]\nsource = "table 1"\nmetrics = { "Recall@5" = 0.25 }\n'
    )
    words = ("run", tmp_path / "mine.toml", "--data", shop, "--columns", COLUMNS, "--out", tmp_path / "run")
    out = cli(*words).out
    assert "Mine on shop: 30 users, 12 items, 240 events" in out
    assert "paper: table 1" in out
    row = next(line.split() for line in out.splitlines() if line.strip().startswith("Recall@5"))
    assert float(row[4]) == pytest.approx(float(row[2]) - float(row[3]), abs=2e-4)
    result = cli(*words, "--json").json
    assert {"run", "recipe", "data", "protocol", "split", "metrics", "seconds"} <= set(result)
    assert result["split"] == "test"


def test_settings_and_seed_reach_the_run(cli, shop: Path, tmp_path: Path) -> None:
    cli("fit", "ease", "--data", shop, "--columns", COLUMNS, "--out", tmp_path / "run", "--seed", "7", "--set", "decoding.beams=60")
    card = cli("card", "show", tmp_path / "run", "--json").json
    assert card["seeds"] == [7]
    assert json.loads((tmp_path / "run" / "config.json").read_text())["decoding"]["beams"] == 60


def test_tune_stores_the_search_with_the_run(cli, shop: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    search = '[search]\n"model.regularisation" = { low = 1.0, high = 900.0 }\n'
    recipe.write_text('title = "Mine"\npaper = "Somebody, 2020"\n[model]\nname = "ease"\n' + search)
    words = ("tune", recipe, "--data", shop, "--columns", COLUMNS, "--out", tmp_path / "run", "--trials", "2")
    out = cli(*words).out
    assert "2 trials (0 failed)" in out
    assert "model.regularisation = " in out or "the recipe's own settings" in out
    found = cli(*words, "--json").json
    assert found["search"]["done"] == 2
    card = cli("card", "show", tmp_path / "run", "--json").json
    assert card["search"]["space"]
    assert card["seconds"]["fit"] > 0


def test_a_recipe_without_search_cannot_be_tuned(cli, shop: Path, tmp_path: Path) -> None:
    words = ("tune", "popularity", "--data", shop, "--columns", COLUMNS, "--out", tmp_path / "run")
    assert "no [search] section" in cli(*words).error


def test_the_world_is_data(cli, tmp_path: Path) -> None:
    world = "world:users=60,items=50,events=600,seed=1"
    assert cli("data", "inspect", world, "--json").json["events"] == 600
    assert cli("fit", "popularity", "--data", world, "--out", tmp_path / "run", "--json").json["data"]["users"] == 60


def test_card(cli, popularity_run: Path) -> None:
    assert cli("card", "show", popularity_run).out.startswith("# Popularity on shop")
    assert cli("card", "show", popularity_run, "--json").json["recipe"] == "popularity"


def test_evaluate_one_run_and_several(cli, popularity_run: Path, knn_run: Path) -> None:
    one = cli("evaluate", popularity_run, "--json").json
    stored = cli("card", "show", popularity_run, "--json").json
    assert one["metrics"] == stored["metrics"]
    assert one["protocol"]["name"] == "leave-one-out"
    both = cli("evaluate", popularity_run, knn_run, "--split", "validation", "--json").json
    assert [result["recipe"] for result in both] == ["popularity", "item-knn"]
    assert both[0]["metrics"] == stored["validation"]
    out = cli("evaluate", popularity_run, knn_run).out
    assert str(knn_run) in out
    assert "Recall@10" in out


def test_evaluate_on_other_data(cli, popularity_run: Path, shop: Path, tmp_path: Path) -> None:
    lines = (shop / "interactions.csv").read_text().splitlines()
    (tmp_path / "part.csv").write_text("\n".join(lines[:81]) + "\n")
    result = cli("evaluate", popularity_run, "--data", tmp_path / "part.csv", "--columns", COLUMNS, "--json").json
    assert (result["cases"], result["data"]["name"]) == (10, "part")
    answer = cli("evaluate", popularity_run, "--data", tmp_path / "part.csv", "--columns", COLUMNS, "--split", "test")
    assert "10 cases" in answer.out


# ---- recommend --------------------------------------------------------------------------------------------------------


def test_a_user(cli, knn_run: Path) -> None:
    rows = cli("recommend", knn_run, "--user", "3", "-k", "2", "--json").json
    assert [set(row) for row in rows] == [{"user_id", "item_id", "rank", "score", "title"}] * 2
    assert [(row["user_id"], row["rank"]) for row in rows] == [(3, 1), (3, 2)]
    out = cli("recommend", knn_run, "--user", "3", "-k", "2").out
    assert "Last 8 of 8 events of user 3" in out
    assert "Chapter 10  [s10]" in out
    assert str(rows[0]["title"]) in out


def test_several_users_and_an_unknown_one(cli, knn_run: Path) -> None:
    answer = cli("recommend", knn_run, "--user", "3", "--user", "nobody", "--user", "3", "-k", "1", "--json")
    assert [row["user_id"] for row in answer.json] == [3, "nobody"]
    assert answer.err.strip() == "note: user `nobody` is not in the log; the list holds the most popular items instead"
    assert "Nothing is known about user nobody" in cli("recommend", knn_run, "--user", "nobody", "-k", "1").out


def test_a_history(cli, knn_run: Path) -> None:
    rows = cli("recommend", knn_run, "--history", "s1,s2,s3", "-k", "3", "--json").json
    assert [row["user_id"] for row in rows] == [None] * 3
    assert not {"s1", "s2", "s3"} & {row["item_id"] for row in rows}
    assert rows == cli("recommend", knn_run, "--history", "s1", "--history", "s2", "--history", "s3", "-k", "3", "--json").json


def test_an_id_that_holds_a_comma(cli, knn_run: Path) -> None:
    answer = cli("recommend", knn_run, "--history", "x,y", "--history", "s0", "-k", "3")
    assert "Chapter 11  [x,y]" in answer.out
    assert answer.err == ""


def test_unknown_items_are_named_and_the_rest_answered(cli, knn_run: Path) -> None:
    answer = cli("recommend", knn_run, "--history", "s1,nope,s2", "-k", "3", "--json")
    assert answer.err.strip() == "note: not in the catalogue and left out: `nope`"
    assert answer.json == cli("recommend", knn_run, "--history", "s1,s2", "-k", "3", "--json").json


@pytest.mark.parametrize("history", ["nope,never", ""])
def test_nothing_known_gives_the_most_popular_and_says_so(cli, knn_run: Path, popularity_run: Path, history: str) -> None:
    answer = cli("recommend", knn_run, "--history", history, "-k", "3", "--json")
    assert "nothing of this history is known; the list holds the most popular items instead" in answer.err
    popular = cli("recommend", popularity_run, "--history", history, "-k", "3", "--json").json
    assert [row["item_id"] for row in answer.json] == [row["item_id"] for row in popular]


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_everybody_into_a_file(cli, knn_run: Path, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsmith.cli.batch.BATCH", 7)
    out = tmp_path / "new" / f"lists{suffix}"
    facts = cli("recommend", knn_run, "--users", "all", "--out", out, "-k", "3", "--json").json
    read = {".parquet": pl.read_parquet, ".csv": pl.read_csv, ".jsonl": pl.read_ndjson}[suffix]
    table = read(out)
    assert table.columns == ["user_id", "item_id", "score", "rank"]
    assert (facts["users"], facts["rows"]) == (30, table.height) == (30, 90)
    assert table["user_id"].to_list() == sorted(list(range(30)) * 3)
    single = cli("recommend", knn_run, "--user", "12", "-k", "3", "--json").json
    assert table.filter(pl.col("user_id") == 12)["item_id"].to_list() == [row["item_id"] for row in single]
    assert [path.name for path in out.parent.iterdir()] == [out.name]
