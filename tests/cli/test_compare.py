"""`recsmith compare`: paired figures, refusals, marks, and what it says where nothing was shown."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.cli.conftest import COLUMNS

from recsmith.cli.program import execute
from recsmith.comparison import MeasuredRun, compare_measured, compare_runs
from recsmith.evaluation import Evaluation
from recsmith.recommender import load


@pytest.fixture(scope="module")
def ratio_run(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same data under another protocol."""
    out = tmp_path_factory.mktemp("compared") / "ratio"
    words = ["fit", "popularity", "--data", str(shop), "--columns", COLUMNS, "--out", str(out), "--set", "split.name=ratio"]
    assert execute(words) == 0
    return out


def test_figures_are_those_of_evaluate_and_paired(cli, popularity_run: Path, knn_run: Path) -> None:
    document = cli("compare", popularity_run, knn_run, "--metric", "NDCG@5", "--json").json
    assert {key: document[key] for key in ("metric", "split", "comparable", "correction")} == {
        "metric": "NDCG@5",
        "split": "test",
        "comparable": True,
        "correction": "holm",
    }
    first, second = document["runs"]
    assert [run["value"] for run in (first, second)] == [
        result["metrics"]["NDCG@5"] for result in cli("evaluate", popularity_run, knn_run, "--json").json
    ]
    assert (first["verdict"], first["against_first"]) == ("baseline", None)
    against = second["against_first"]
    assert against["pairs"] == 30
    assert against["difference"] == pytest.approx(second["value"] - first["value"])
    assert against["interval"][0] <= against["difference"] <= against["interval"][1]
    assert against["smallest_detectable"] > 0
    assert (second["verdict"] == "better") == (against["p_holm"] <= 0.05 and against["difference"] > 0)


def test_the_table_says_what_could_have_been_seen(cli, popularity_run: Path, knn_run: Path) -> None:
    answer = cli("compare", popularity_run, knn_run, popularity_run, "--metric", "NDCG@5")
    assert answer.code == 0
    header, *rest = [line for line in answer.out.splitlines() if line.strip()]
    assert [word in header for word in ("NDCG@5", "95% interval", "p (Holm)", "could see", "verdict")] == [True] * 5
    assert "test, 30 users, leave-one-out; 10,000 resamples, seed 0" in rest[-2]
    assert any(line.rstrip().endswith("identical") for line in rest)


@pytest.mark.parametrize(("metric", "word"), [("NDCG@10", "better"), ("ARP@10", "higher")])
def test_what_is_neither_good_nor_bad_is_higher_or_lower(metric: str, word: str) -> None:
    cases = pl.DataFrame({"user_id": [str(user) for user in range(50)], "targets": ["x"] * 50})
    measured = [
        MeasuredRun(name, {}, Evaluation({}, {metric: values}, "test", {}, 0.0, 50), cases)
        for name, values in (("low", np.linspace(0, 1, 50)), ("high", np.linspace(1, 2, 50) ** 2))
    ]
    comparison = compare_measured(measured, metric=metric, resamples=500)
    assert [comparison.verdict(figure) for figure in comparison.figures] == ["baseline", word]
    assert comparison.sentence(comparison.figures[1]).startswith(f"{word} (adjusted p = 0.00")


def test_another_protocol_is_refused_or_marked(cli, popularity_run: Path, ratio_run: Path) -> None:
    words = ("compare", popularity_run, ratio_run, "--metric", "NDCG@5")
    assert "cannot be compared (split.name: leave-one-out / ratio)" in cli(*words).error
    assert "--force" in cli(*words).error
    answer = cli(*words, "--force", "--json")
    assert answer.json["comparable"] is False
    assert answer.json["runs"][1]["not_comparable_because"] == ["split.name: leave-one-out / ratio"]
    assert answer.json["runs"][1]["against_first"]["pairs"] == 30
    shown = cli(*words, "--force")
    assert "is not comparable with" in shown.err  # the table too says so, but folds long names
    assert "tested on 30 user ids in common" in shown.err


def test_other_data_without_a_common_user(cli, popularity_run: Path, tmp_path: Path) -> None:
    lines = [f"customer{user},s{(user + step) % 12},{1000 + step}" for user in range(20) for step in range(5)]
    (tmp_path / "other.csv").write_text("\n".join(["customer_no,sku,ts", *lines]) + "\n")
    cli("fit", "popularity", "--data", tmp_path / "other.csv", "--columns", COLUMNS, "--out", tmp_path / "other")
    words = ("compare", popularity_run, tmp_path / "other", "--metric", "NDCG@5")
    assert "cannot be compared (data: shop " in cli(*words).error
    forced = cli(*words, "--force", "--json").json["runs"][1]
    assert (forced["verdict"], forced["against_first"]) == ("not tested: no user in common", None)


def test_cases_that_changed_under_the_same_data_are_noticed(cli, popularity_run: Path, tmp_path: Path) -> None:
    updated = load(popularity_run)
    updated.log = type(updated.log)(updated.log.users, updated.log.items, updated.log.histories.drop_last(1))
    updated.save(tmp_path / "updated")
    assert "other held-out cases" in cli("compare", popularity_run, tmp_path / "updated").error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "needs two runs or more"),
        (("{run}", "--metric", "NDGC@10"), "`NDGC@10` has no value per case.*did you mean `NDCG@10`"),
        (("{run}", "--metric", "Coverage@10"), "`Coverage@10` has no value per case"),
        (("nowhere",), "nowhere"),
    ],
)
def test_mistakes(cli, popularity_run: Path, knn_run: Path, words: tuple[str, ...], message: str) -> None:
    assert re.search(message, cli("compare", popularity_run, *(word.format(run=knn_run) for word in words)).error)


def test_the_order_of_runs_only_turns_the_sign(popularity_run: Path, knn_run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(knn_run, tmp_path / "copy")
    ahead, back = (
        compare_runs(pair, metric="NDCG@5", resamples=2_000).figures[1] for pair in ((popularity_run, copy), (copy, popularity_run))
    )
    assert ahead.against_first is not None
    assert back.against_first is not None
    assert ahead.against_first.difference == pytest.approx(-back.against_first.difference)
    assert np.isclose(ahead.against_first.p_value, back.against_first.p_value)
