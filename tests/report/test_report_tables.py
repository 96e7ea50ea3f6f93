"""A stranger's table of recommendations gets the same report, beside a popularity ranking made for it; bad tables are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from page_reader import Page

from recsmith import Dataset, evaluate, load
from recsmith.cli.program import execute
from recsmith.data import SplitConfig
from recsmith.errors import DataError, UserError
from recsmith.report import gather_tables, render


@pytest.fixture(scope="module")
def lists(folders: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the item-kNN run answers for the test cases, as a stranger would hand it over."""
    recommender = load(folders[1])
    cases = recommender.split().test
    items = recommender.answer(cases, 10).items
    users = recommender.log.users.raw(np.repeat(cases.users, 10))
    table = pl.DataFrame([users.alias("who"), recommender.log.items.raw(items.ravel()).alias("what")])
    file = tmp_path_factory.mktemp("lists") / "theirs.csv"
    table.with_columns(place=pl.Series(np.tile(np.arange(1, 11), len(cases)))).write_csv(file)
    return file


COLUMNS = {"user": "who", "item": "what", "rank": "place"}


def test_it_says_what_the_run_itself_would(lists: Path, data: Dataset, folders: list[Path]) -> None:
    content = gather_tables([lists], data, columns=COLUMNS, resamples=200)
    popular, theirs = content.runs
    assert content.names == ("Popularity", "theirs")
    assert popular.evaluation.metrics["NDCG@10"] == pytest.approx(load(folders[0]).evaluate("test").metrics["NDCG@10"])
    assert theirs.evaluation.metrics == pytest.approx(evaluate(lists, data, columns=COLUMNS).metrics, nan_ok=True)
    own = load(folders[1])
    shown = {example.user: [entry.item for entry in example.lists[1]] for example in content.examples}
    cases = own.split().test
    users = own.log.users.raw(cases.users).cast(pl.String).to_list()
    for user, items in shown.items():
        assert items == own.answer(cases.take(np.array([users.index(user)])), 5).items[0].tolist()
    page = Page(render(content))
    for words in (
        "theirs:",
        "The figures, with intervals",
        "By gender",
        "From the table theirs.csv",
        "Harm sheet",
        "There is no SASRec run",
    ):
        assert words in page.text


def test_people_whom_training_never_saw_are_matched_too(data: Dataset, tmp_path: Path) -> None:
    protocol = SplitConfig(name="strong-generalisation", test_share=0.3)
    everybody = pl.DataFrame({"user_id": range(40)}).join(pl.DataFrame({"item_id": range(5), "rank": range(1, 6)}), how="cross")
    everybody.write_csv(tmp_path / "same.csv")
    content = gather_tables([tmp_path / "same.csv"], data, protocol=protocol, resamples=100)
    lists = content.runs[1].lists
    assert lists is not None
    assert (lists.items == np.arange(5)).all()
    assert content.comparison.metric == "NDCG@5"  # the longest list holds five
    assert content.runs[1].evaluation.figures["answered"] == 1


def test_command(lists: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{user},{(user + step) % 30},{step}" for user in range(40) for step in range(6)]
    (tmp_path / "log.csv").write_text("\n".join(["user,item,time", *rows]) + "\n")
    out = tmp_path / "report.html"
    words = ["report", "--table", str(lists), "--data", str(tmp_path / "log.csv"), "--table-columns", "user=who,item=what,rank=place"]
    assert execute([*words, "--out", str(out)]) == 0
    assert "report.html" in capsys.readouterr().out
    assert "theirs" in Page(out.read_text(encoding="utf-8")).text
    assert execute([*words[:-1], "user:who", "--out", str(out)]) == 2
    assert "not of the form role=column" in capsys.readouterr().err


GOOD = {"user_id": [0, 0, 1], "item_id": [1, 2, 3], "rank": [1, 2, 1]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"user_id": [90, 90, 91]}, "no user in common"),
        ({"item_id": [90, 91, 92]}, "no item in common"),
        ({"rank": [1, 1, 1]}, "already has an item of rank 1"),
        ({"rank": [0, 1, 1]}, "ranks are whole numbers from 1"),
        ({"rank": None, "score": [0.5, float("nan"), 1.0]}, "NaN"),
        ({"rank": None, "score": [0.5, float("inf"), 1.0]}, "infinite|inf"),
        ({"rank": None}, "neither a column `rank` nor `score`"),
    ],
    ids=["unknown users", "unknown items", "rank twice", "rank 0", "NaN", "infinite", "no order"],
)
def test_bad_tables(changes: dict[str, list[float] | None], message: str, data: Dataset, tmp_path: Path) -> None:
    table = {name: values for name, values in {**GOOD, **changes}.items() if values is not None}
    pl.DataFrame(table).write_csv(tmp_path / "bad.csv")
    with pytest.raises(DataError, match=message):
        gather_tables([tmp_path / "bad.csv"], data, resamples=100)


def test_lists_of_different_lengths_and_some_unknown_ids_are_counted(data: Dataset, tmp_path: Path) -> None:
    pl.DataFrame({"user_id": [0, 0, 1, 99], "item_id": [1, 2, 77, 3], "rank": [1, 2, 1, 1]}).write_csv(tmp_path / "odd.csv")
    content = gather_tables([tmp_path / "odd.csv"], data, resamples=100)
    figures = content.runs[1].evaluation.figures
    assert (figures["unknown_users"], figures["unknown_items"]) == (1, 1)
    assert "Item ids that are not in the data" in Page(render(content)).text


def test_the_same_table_twice_and_a_metric_beyond_the_lists(lists: Path, data: Dataset) -> None:
    with pytest.raises(UserError, match="given twice"):
        gather_tables([lists, lists], data, columns=COLUMNS)
    with pytest.raises(UserError, match="`NDCG@20` has no value per case"):
        gather_tables([lists], data, columns=COLUMNS, metric="NDCG@20", resamples=100)
