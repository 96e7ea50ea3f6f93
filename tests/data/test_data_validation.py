"""Bad input: each has one line that names file, row and column, and what to do."""

import gzip

import polars as pl
import pytest

from recsmith.data import Dataset, parse_columns
from recsmith.errors import DataError, UserError

NAN = float("nan")


def csv(tmp_path, text, name="log.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "log.csv` is empty; give a file with a header"),
        ("user,item\n", "log.csv` is empty: there is no row after the header"),
        ("buyer,item\n1,2\n", "no column that is known to hold the user; it has `buyer`, `item`; say which, for example --columns user="),
        ("user,thing\n1,2\n", "no column that is known to hold the item; it has `user`, `thing`"),
        ("user,item,ts\n1,2,3\n1,2,soon\n1,3,4\n", r"log.csv`, row 2, column `ts`: 'soon' is not a number of seconds \(1 such rows\)"),
        ("user,item,ts\n1,2,2020-01-01\n1,2,soon\n", "row 2, column `ts`: 'soon' is not seconds since the epoch or an ISO time"),
        ("user,item,ts\n1,2,3\n1,2,\n", "row 2, column `ts`: the value is missing"),
        (
            "user,item,rating\n1,2,5\n1,2,NaN\n1,3,nan\n",
            r"log.csv`, row 2, column `rating`: the value is NaN, not a number \(2 such rows\)",
        ),
        ("user,item,rating\n1,2,good\n1,3,1\n", "row 1, column `rating`: 'good' is not a number"),
        ("user,item,rating\n1,2,\n", "row 1, column `rating`: the value is missing, not a number"),
        (
            "user,item\n1,2\n,3\n1,\n",
            r"log.csv`, row 2, column `user`: the value is missing \(1 such rows\); fill it in or remove the rows",
        ),
        ("user,item\n1,2\n1,2,3\n", "cannot be read as csv: "),
        ("user,item\n1,2\n1,3\n", r"log.csv holds events of one user only \(1\)"),
    ],
)
def test_delimited_files(tmp_path, text, message):
    with pytest.raises(DataError, match=message) as caught:
        Dataset.from_path(csv(tmp_path, text)).split()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"user": [1, 2], "item": [[1], [2]]}, r"interactions, column `item`: has type List\(Int64\), but must hold integers or text"),
        ({"user": [1.5, 2], "item": [1, 2]}, "row 1, column `user`: 1.5 is not an id; ids are integers or text"),
        ({"user": [1.0, NAN], "item": [1, 2]}, "row 2, column `user`: nan is not an id"),
        ({"user": [1, 2], "item": [1, 2], "rating": [1.0, float("inf")]}, "row 2, column `rating`: the value is inf"),
        ({"user": [1, 2], "item": [1, 2], "time": [True, False]}, "column `time`: has type Boolean, but must hold seconds"),
        ({"user": [1, 2], "item": [1, 2], "rating": [[1], [2]]}, "column `rating`: has type List"),
        ({"user": [], "item": []}, "interactions is empty"),
        ({"user": [1, 2], "item": [1]}, "interactions cannot be read as a table: .*; give columns of equal length"),
    ],
)
def test_tables(frame, message):
    with pytest.raises(DataError, match=message) as caught:
        Dataset.from_frame(frame)
    assert "\n" not in str(caught.value)


def test_whole_numbers_written_as_floats_are_ids():
    assert Dataset.from_frame({"user": [1.0, 2.0], "item": [1, 2]}).interactions["user_id"].to_list() == [1, 2]


def test_ratings_may_be_missing_where_event_types_tell_them_apart():
    data = Dataset.from_frame({"user": [1, 2], "item": [1, 2], "event": ["rate", "view"], "rating": [4.0, None]})
    assert data.log().histories.weights.tolist() == [4, 1]


def test_mapped_columns_must_exist():
    with pytest.raises(DataError, match=r"no column `custmer` \(asked for as user\); it has `customer`, `item`; did you mean `customer`"):
        Dataset.from_frame({"customer": [1], "item": [1]}, columns={"user": "custmer"})
    with pytest.raises(UserError, match=r"`usr` is not a role a column can have; did you mean `user`"):
        Dataset.from_frame({"user": [1], "item": [1]}, columns={"usr": "user"})


def test_column_mappings_as_text():
    assert parse_columns("user=customer_no, item = sku,timestamp=ts") == {"user": "customer_no", "item": "sku", "time": "ts"}
    with pytest.raises(UserError, match=r"'user:customer_no' are not of the form role=column"):
        parse_columns("user:customer_no")


def test_duplicate_items_of_a_catalogue_file(tmp_path):
    csv(tmp_path, "user,item\n1,2\n2,3\n", "log.csv")
    csv(tmp_path, "item,title\n2,A\n3,B\n2,C\n", "items.csv")
    with pytest.raises(DataError, match=r"items.csv`, row 3, column `item`: item 2 stands already in row 1 \(1 rows repeat an item\)"):
        Dataset.from_path(tmp_path)


def test_broken_files(tmp_path):
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(b"user,item\n" + b"1,2\n" * 9999)[:60])
    with pytest.raises(DataError, match=r"log.csv.gz` cannot be read as csv"):
        Dataset.from_path(tmp_path / "log.csv.gz")
    (tmp_path / "log.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match=r"log.parquet` cannot be read as parquet"):
        Dataset.from_path(tmp_path / "log.parquet")
    csv(tmp_path, '{"user": 1, "item": 2}\n{"user": 1\n', "log.jsonl")
    with pytest.raises(DataError, match=r"log.jsonl`, row 2: not JSON"):
        Dataset.from_path(tmp_path / "log.jsonl")
    csv(tmp_path, '{"user": 1, "item": 2}\n[1, 2]\n', "list.jsonl")
    with pytest.raises(DataError, match=r"list.jsonl`, row 2: '\[1, 2\]' is not a JSON object"):
        Dataset.from_path(tmp_path / "list.jsonl")
    csv(tmp_path, "\n", "none.jsonl")
    with pytest.raises(DataError, match=r"none.jsonl` is empty"):
        Dataset.from_path(tmp_path / "none.jsonl")


def test_what_is_no_table():
    with pytest.raises(UserError, match=r"interactions of type `int` is not a table"):
        Dataset.from_frame(5)
    with pytest.raises(DataError, match=r"no column `item_id`; make the data set with Dataset.from_frame"):
        Dataset(pl.DataFrame({"user_id": [1]}))
    with pytest.raises(DataError, match=r"column `user_id`: has type Float64"):
        Dataset(pl.DataFrame({"user_id": [1.0], "item_id": [1]}))


def test_times_out_of_order_are_sorted_and_reported():
    data = Dataset.from_frame({"user": [1, 1, 2], "item": [1, 2, 3], "time": [9, 4, 1]})
    assert data.log().histories.times.tolist() == [4, 9, 1]
    assert data.inspect().out_of_order == 1
