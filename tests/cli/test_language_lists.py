"""Lists in which a language model, or what answers in its place, has a part say so: in the table, in JSON and in files."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from recsmith.cli.program import execute

SPOKE = "none; hashed-tfidf"


@pytest.fixture(scope="module")
def ranker_run(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "zero-shot"
    offline = ["--set", "model.encoder.name=tfidf", "--set", "model.encoder.dim=32"]
    assert (
        execute(
            ["fit", "zero-shot-ranker", "--data", str(shop), "--columns", "user=customer_no,item=sku,time=ts", "--out", str(out), *offline]
        )
        == 0
    )
    return out


def test_lists_name_who_spoke(cli, ranker_run: Path, tmp_path: Path) -> None:
    rows = cli("recommend", ranker_run, "--user", "3", "--user", "nobody", "-k", "1", "--json").json
    assert rows[0]["backend"].startswith(SPOKE)
    assert rows[1]["backend"] is None, "what is popular is not the language model's answer"
    assert f"Language model: {SPOKE}" in cli("recommend", ranker_run, "--user", "3", "-k", "2").out
    out = tmp_path / "lists.jsonl"
    facts = cli("recommend", ranker_run, "--users", "all", "--out", out, "-k", "1", "--json").json
    assert facts["backend"].startswith(SPOKE)
    assert pl.read_ndjson(out)["backend"].str.starts_with(SPOKE).all()


def test_explanations_name_who_spoke(cli, ranker_run: Path, knn_run: Path) -> None:
    assert cli("explain", ranker_run, "--user", "3", "--item", "s1", "--last", "2", "--json").json["backend"].startswith(SPOKE)
    assert f"Language model: {SPOKE}" in cli("explain", ranker_run, "--user", "3", "--item", "s1", "--last", "2").out
    assert "backend" not in cli("explain", knn_run, "--user", "3", "--item", "s1", "--last", "2", "--json").json
    assert "Language model" not in cli("recommend", knn_run, "--user", "3").out
