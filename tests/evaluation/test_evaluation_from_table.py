"""`recsmith.evaluate`: a stranger's table against a log, and every way in which such a table can be wrong."""

import re

import numpy as np
import polars as pl
import pytest

import recsmith
from recsmith.data import Dataset, SplitConfig, ViewConfig
from recsmith.errors import DataError, UserError
from recsmith.evaluation import evaluate, read_recommendations

# Each person's events in order of time: the last is the test item, the one before it validates.
LOG = {"ann": [1, 2, 3, 9], "bob": [2, 3, 4, 10], "cat": [3, 1, 5, 2], "dan": [1, 2]}


@pytest.fixture
def data():
    rows = [(user, item, time) for user, items in LOG.items() for time, item in enumerate(items)]
    return Dataset.from_frame(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))


def table_of(lists, *, order="rank"):
    rows = [(user, item, rank if order == "rank" else -float(rank)) for user, items in lists.items() for rank, item in enumerate(items, 1)]
    return pl.DataFrame(rows, schema=["user_id", "item_id", order], orient="row")


LISTS = {"ann": [4, 9, 5], "bob": [10, 1, 5], "eve": [1, 2, 3]}


def test_metrics_and_figures_by_hand(data):
    found = recsmith.evaluate(table_of(LISTS), data, ks=(1, 3))
    assert (found.split, found.cases, found.protocol["name"]) == ("test", 3, "leave-one-out")
    assert found.protocol["tie_rule"] == "events of equal time keep the order of the file"
    assert found.metrics["Recall@1"] == pytest.approx(1 / 3)
    assert found.metrics["MRR@3"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert found.metrics["NDCG@3"] == pytest.approx((1 / np.log2(3) + 1) / 3)
    assert found.metrics["Coverage@3"] == pytest.approx(5 / 7)
    assert found.figures["answered"] == pytest.approx(2 / 3)
    assert {name: found.figures[name] for name in ("unknown_users", "unknown_items", "repeated_items", "already_seen")} == {
        "unknown_users": 1, "unknown_items": 0, "repeated_items": 0, "already_seen": 0,
    }  # fmt: skip


def test_popularity_comes_from_training_events_alone(data):
    """Training has 1, 2 (ann, bob), 3 (bob, cat), 1 (cat), 1 and 2 (dan: too short to be tested): item 9 has none of its 1 event."""
    found = evaluate(table_of({"ann": [9], "bob": [1]}), data, ks=(1,))
    assert found.metrics["ARP@1"] == pytest.approx((0 + 3) / 2)


def test_categories_come_from_the_catalogue(data):
    catalogue = {"item_id": [1, 2, 3, 4, 5, 9, 10], "genres": [["a"], ["a"], ["b"], ["a", "b"], ["b"], ["b"], []]}
    found = evaluate(table_of({"ann": [4, 9, 5], "bob": [10, 1, 5]}), data.with_tables(catalogue=catalogue), ks=(3,))
    np.testing.assert_allclose(found.per_case["ILD-categories@3"], [(1 / 2 + 1 / 2 + 0) / 3, 1, np.nan])


def test_validation_split_view_and_default_cutoffs(data):
    found = evaluate(table_of({"ann": [3, 9, 4]}), data, split="validation")
    assert found.split == "validation"
    assert found.metrics["Recall@3"] == pytest.approx(1 / 3)
    assert "Recall@5" not in found.metrics
    late = evaluate(table_of({"ann": [9]}), data, view=ViewConfig(since=1.0), ks=(1,))
    assert late.metrics["Recall@1"] == pytest.approx(1 / 3)


def test_rank_score_and_order_of_rows_do_not_matter(data):
    expected = evaluate(table_of(LISTS), data, ks=(1, 3)).metrics
    assert evaluate(table_of(LISTS, order="score"), data, ks=(1, 3)).metrics == expected
    assert evaluate(table_of(LISTS).sample(fraction=1, shuffle=True, seed=1), data, ks=(1, 3)).metrics == expected
    both = table_of(LISTS).with_columns(score=pl.col("rank").cast(pl.Float64))  # the ranks win over scores that say the opposite
    assert evaluate(both, data, ks=(1, 3)).metrics == expected


def test_equal_scores_go_by_ascending_item_id_as_a_number(data):
    ties = pl.DataFrame({"user_id": ["bob", "bob", "ann", "ann"], "item_id": ["10", "9", "9", "10"], "score": [1.0, 1.0, 1.0, 1.0]})
    found = evaluate(ties, data, ks=(1, 2))
    assert found.per_case["MRR@2"].tolist() == [1.0, 0.5, 0.0]


def test_unknown_and_repeated_items_take_their_place(data):
    found = evaluate(table_of({"ann": [999, 9], "bob": [4, 4, 10]}), data, ks=(1, 2, 3))
    assert found.per_case["MRR@3"].tolist() == [1 / 2, 1 / 3, 0]
    assert (found.figures["unknown_items"], found.figures["repeated_items"]) == (1, 1)
    assert found.figures["already_seen"] == pytest.approx(2 / 4)


def test_people_held_out_of_training_can_be_named_in_a_table():
    users = {f"u{number:02}": [number % 5, (number + 1) % 5, (number + 2) % 5, 5 + number % 3] for number in range(20)}
    rows = [(user, item, time) for user, items in users.items() for time, item in enumerate(items)]
    data = Dataset.from_frame(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))
    protocol = SplitConfig(name="strong-generalisation", test_share=0.3, validation_share=0.2)
    found = evaluate(table_of({user: [items[-1]] for user, items in users.items()}), data, protocol=protocol, ks=(1,))
    assert (found.cases, found.metrics["Recall@1"], found.figures["answered"]) == (6, 1, 1)
    assert found.protocol["test_share"] == 0.3


@pytest.mark.parametrize("name", ["lists.csv", "lists.tsv", "lists.csv.gz", "lists.parquet"])
def test_files_with_other_column_names(data, tmp_path, name):
    table = table_of(LISTS).rename({"user_id": "customer_no", "item_id": "sku"})
    path = tmp_path / name
    if name.endswith(".parquet"):
        table.write_parquet(path)
    else:
        separator = "\t" if ".tsv" in name else ","
        path.write_bytes(gzipped(table.write_csv(separator=separator), wanted=name.endswith(".gz")))
    columns = {"user": "customer_no", "item_id": "sku"}
    assert evaluate(path, data, columns=columns, ks=(3,)).metrics == evaluate(table_of(LISTS), data, ks=(3,)).metrics
    assert evaluate(str(path), data, columns=columns, ks=(3,)).cases == 3


def gzipped(text, *, wanted):
    import gzip

    return gzip.compress(text.encode()) if wanted else text.encode()


def test_ids_with_leading_zeros_stay_what_they_are(tmp_path):
    log = {"user_id": ["01"] * 3 + ["1"] * 3, "item_id": ["a", "b", "c"] * 2, "timestamp": [1, 2, 3] * 2}
    path = tmp_path / "lists.csv"
    path.write_text("user_id,item_id,rank\n01,c,1\n1,b,1\n")
    assert evaluate(path, Dataset.from_frame(log), ks=(1,)).per_case["Recall@1"].tolist() == [1, 0]


BAD_TABLES = [
    ({"user_id": ["ann"], "rank": [1]}, r"has no column `item_id` \(asked for as item\)"),
    ({"user_id": ["ann"], "item_id": [1]}, r"neither a column `rank` nor `score`"),
    ({"user_id": ["ann"], "item_id": [1], "score": [float("nan")]}, r"row 1, column `score`: the value is NaN"),
    ({"user_id": ["ann"], "item_id": [1], "score": [float("inf")]}, r"row 1, column `score`: the value is inf, not a number"),
    ({"user_id": ["ann", "bob"], "item_id": [1, 1], "score": [1.0, None]}, r"row 2, column `score`: the value is missing"),
    ({"user_id": ["ann"], "item_id": [1], "score": ["high"]}, r"row 1, column `score`: 'high' is not a number"),
    ({"user_id": ["ann", "ann"], "item_id": [1, 2], "rank": [1, 1]}, r"row 2, column `rank`: user 'ann' already has an item of rank 1"),
    ({"user_id": ["ann"], "item_id": [1], "rank": [0]}, r"rank 0 is not allowed; ranks are whole numbers from 1"),
    ({"user_id": ["ann"], "item_id": [1], "rank": [1.5]}, r"rank 1.5 is not allowed"),
    ({"user_id": ["ann", None], "item_id": [1, 2], "rank": [1, 2]}, r"row 2, column `user_id`: the value is missing"),
    (pl.DataFrame(schema={"user_id": pl.String, "item_id": pl.Int64, "rank": pl.Int64}), "is empty"),
    ({"user_id": ["ann"], "item_id": [1, 2]}, r"cannot be read as a table"),
    ({"user_id": ["nobody"], "item_id": [1], "rank": [1]}, r"no user in common: the table has user ids like 'nobody', the data like 'ann'"),
    ({"user_id": ["ann"], "item_id": ["x"], "rank": [1]}, r"no item in common: the table has item ids like 'x', the data like 1"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "message"), BAD_TABLES)
def test_bad_table_is_one_clear_error(data, table, message):
    with pytest.raises(DataError, match=message):
        evaluate(table, data)


def test_bad_cutoff_split_role_and_type(data):
    with pytest.raises(DataError, match="k = 5 is above the length of the longest list, 3; give ks up to 3"):
        evaluate(table_of(LISTS), data, ks=(5,))
    with pytest.raises(UserError, match="unknown split `train`; allowed: `test`, `validation`"):
        evaluate(table_of(LISTS), data, split="train")
    with pytest.raises(UserError, match=r"`usr` is not a role .* did you mean `user`\?"):
        evaluate(table_of(LISTS), data, columns={"usr": "user_id"})
    with pytest.raises(DataError, match="has no column `position`"):
        evaluate(table_of(LISTS), data, columns={"rank": "position"})
    with pytest.raises(UserError, match="of type `int` is not a table"):
        evaluate(3, data)


def test_a_protocol_may_be_named(data):
    named = evaluate(table_of(LISTS), data, protocol="leave-one-out", ks=(3,))
    assert named.metrics == evaluate(table_of(LISTS), data, ks=(3,)).metrics
    with pytest.raises(UserError, match=r"unknown protocol `leave-one`; did you mean `leave-one-out`\?"):
        evaluate(table_of(LISTS), data, protocol="leave-one")


def test_one_list_cannot_answer_every_position_of_a_session():
    log = Dataset.from_frame({"user_id": [1, 1, 1, 2, 2, 2], "item_id": [1, 2, 3] * 2, "timestamp": [1, 2, 3, 100, 101, 102]})
    sessions = SplitConfig(name="session-prefixes", session_gap=50, test_share=0.5)
    with pytest.raises(DataError, match=r"asks several times about one user .* a table names one list per user"):
        evaluate({"user_id": [2], "item_id": [3], "rank": [1]}, log, protocol=sessions)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.csv", None, "is not a file; give a CSV, TSV or Parquet file"),
        ("lists.xlsx", b"x", r"allowed: .csv, .tsv \(also .gz\) and .parquet"),
        ("empty.csv", b"", "is empty"),
        ("broken.parquet", b"not a parquet file", "cannot be read as PARQUET"),
        ("zeros.csv", b"user_id,item_id,rank\nann,9,0\n", "row 1, column `rank`: rank 0 is not allowed"),
    ],
)
def test_bad_file_is_named(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message) as raised:
        read_recommendations(path)
    assert re.escape(str(path)).replace("\\", "") in str(raised.value)


def test_no_case_to_measure():
    short = Dataset.from_frame({"user_id": ["a", "a", "b"], "item_id": [1, 2, 1], "timestamp": [1, 2, 3]})
    with pytest.raises(DataError, match="no test case"):
        evaluate({"user_id": ["a"], "item_id": [1], "rank": [1]}, short)


def test_one_table_is_measured_against_thousands_of_users_quickly(data):
    random = np.random.default_rng(0)
    users, items = 5_000, 1_000
    log = {"user_id": np.repeat(np.arange(users), 5), "item_id": random.integers(0, items, users * 5), "timestamp": np.arange(users * 5)}
    table = {
        "user_id": np.repeat(np.arange(users), 20),
        "item_id": random.integers(0, items, users * 20),
        "score": random.random(users * 20),
    }
    found = evaluate(table, Dataset.from_frame(log))
    assert found.cases == users
    assert found.metrics["Hit@20"] == pytest.approx(20 / items, abs=0.01)
    assert found.seconds < 10
