"""Plain-text tables and the JSON form of a result."""

import json

import numpy as np

from recsmith.data import Histories
from recsmith.evaluation import LeakCheck, evaluate_lists, format_table
from recsmith.evaluation.as_json import json_ready
from recsmith.protocols import RankedLists


def test_columns_are_aligned_and_numbers_have_four_digits():
    rows = [{"model": "popularity", "NDCG@10": 0.0055, "users": 22363}, {"model": "tiger", "NDCG@10": np.float32(0.04), "paper": None}]
    assert format_table(rows) == (
        "model       NDCG@10  users  paper\n"
        "----------  -------  -----  -----\n"
        "popularity   0.0055  22363      -\n"
        "tiger        0.0400      -      -"
    )


def test_empty_table_and_undefined_numbers():
    assert format_table([]) == ""
    assert format_table([{"a": float("nan"), "ok": True}]).splitlines()[-1] == "-  True"


def test_result_as_json_and_as_text():
    lists = RankedLists(np.array([[0, 1], [2, 1]]), np.zeros((2, 2), dtype=np.float32))
    found = evaluate_lists(lists, Histories.from_rows([[0], [1]]), item_count=3, ks=(1, 2))
    document = json.loads(json.dumps(found.as_dict()))
    assert document["metrics"]["Recall@1"] == 0.5
    assert set(document) == {"split", "protocol", "metrics", "figures", "cases", "seconds", "checks"}
    lines = found.table().splitlines()
    assert lines[0].split() == ["unnamed,", "2", "cases", "@1", "@2"]
    assert ["NDCG", "0.5000", "0.8155"] in [line.split() for line in lines]


def test_results_hold_nothing_that_json_lacks():
    found = json_ready({"a": (1.5, float("nan"), [float("inf")]), "b": LeakCheck("x", "y", float("nan"), None), "c": True, "d": "text"})
    assert found == {"a": [1.5, None, [None]], "b": {"name": "x", "finding": "y", "value": None, "passed": None}, "c": True, "d": "text"}
    assert json.loads(json.dumps(found, allow_nan=False)) == found
