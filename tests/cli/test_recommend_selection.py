"""`recsmith recommend` draws other lists, and refuses what a model cannot do."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def items(cli: Any, run: Path, *words: str) -> list[str]:
    return [row["item_id"] for row in cli("recommend", run, "--user", "3", "-k", "4", "--json", *words).json]


def test_a_seed_draws_another_list_and_the_same_seed_the_same(cli: Any, popularity_run: Path) -> None:
    best = items(cli, popularity_run)
    drawn = [items(cli, popularity_run, "--temperature", "5", "--seed", str(seed)) for seed in range(6)]
    assert drawn[2] == items(cli, popularity_run, "--temperature", "5", "--seed", "2")
    assert len({tuple(names) for names in drawn}) > 1
    assert all(len(set(names)) == len(best) == 4 for names in drawn)


def test_mistakes_are_one_line(cli: Any, popularity_run: Path) -> None:
    def ask(*words: str) -> Any:
        return cli("recommend", popularity_run, "--user", "3", "-k", "4", *words)

    assert "temperature 0 is not above 0" in ask("--temperature", "0").error
    assert "give one or the other" in ask("--diverse", "2", "--seed", "1").error
    assert "has no beams to keep apart" in ask("--diverse", "2").error
    assert "0 groups cannot share" in ask("--diverse", "0").error


def test_slates_have_slots_and_any_model_answers_them(cli: Any, popularity_run: Path, tmp_path: Path) -> None:
    rows = cli("recommend", popularity_run, "--user", "3", "--slate", "4", "--json").json
    assert [row["slot"] for row in rows] == [1, 2, 3, 4]
    assert [row["item_id"] for row in rows] == items(cli, popularity_run)
    assert {"user_id", "score", "title", "log_likelihood"} <= set(rows[0])
    assert "slot" in cli("recommend", popularity_run, "--history", "s1,s2", "--slate", "2").out
    out = tmp_path / "slates.csv"
    assert cli("recommend", popularity_run, "--users", "all", "--slate", "2", "--out", out, "--json").json["k"] == 2
    assert out.read_text().startswith("user_id,slot,item_id,score,log_likelihood\n")
    assert "give one or the other" in cli("recommend", popularity_run, "--user", "3", "--slate", "4", "-k", "5").error
    assert "size = 0 does not fit" in cli("recommend", popularity_run, "--user", "3", "--slate", "0").error
    assert "size = 13 does not fit a catalogue of 12 items" in cli("recommend", popularity_run, "--user", "3", "--slate", "13").error
