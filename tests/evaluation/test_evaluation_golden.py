"""Published and recounted numbers on real logs: popularity rows of amazon-beauty, four published list files of yoochoose-100k."""

import csv
import gzip
import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from recsmith.data import Cases, Dataset, Histories, SplitConfig, Vocabulary, basket_log, baskets, split_log
from recsmith.evaluation import describe_protocol, evaluate, evaluate_answer, evaluate_lists, rank_scores
from recsmith.protocols import RankedLists

FOLDER = os.environ.get("RECSMITH_DATA")
pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(FOLDER is None, reason="RECSMITH_DATA does not name a folder of real data"),
]


def read(*parts):
    return gzip.open(Path(FOLDER, *parts), "rt", encoding="utf-8")


@pytest.fixture(scope="module")
def beauty():
    """Whole sequences by item index, and the size of the catalogue."""
    with read("amazon-beauty", "sequences.txt.gz") as file:
        rows = [[int(item) for item in line.split()[1:]] for line in file]
    items = Vocabulary(item for row in rows for item in row)
    packed = Histories.from_rows(rows)
    return packed.with_values(items.indices(packed.values.tolist())), len(items)


def most_popular(counts, histories, k):
    """The k items with the highest counts that a row does not hold, ties by the smaller id; only those that can be reached are ranked."""
    enough = min(k + int(histories.lengths.max()), len(counts))
    best = np.argsort(-counts, kind="stable")[:enough]
    place = np.full(len(counts), -1)
    place[best] = np.arange(enough)
    places = place[histories.values]
    seen = histories.with_values(places).where(places >= 0)
    scores = np.tile(counts[best].astype(np.float32), (len(histories), 1))
    lists = rank_scores(scores, k, exclude=seen)
    return RankedLists(best[lists.items], lists.scores)


def popularity_row(beauty, *, counted, ks):
    """Leave-one-out test of one popularity ranking, everything before the last event masked."""
    sequences, item_count = beauty
    counts = np.bincount(counted.values, minlength=item_count)
    cases = Cases(np.arange(len(sequences)), sequences.drop_last(), sequences.tail(1))

    def answer(batch, k):
        return most_popular(counts, batch.histories, k)

    found = evaluate_answer(answer, cases, item_count=item_count, ks=ks, split="test", protocol={"name": "leave-one-out"})
    assert found.figures["already_seen"] == 0
    assert found.cases == 22_363
    return {name: f"{value:.4f}" for name, value in found.metrics.items() if name.startswith(("Hit", "NDCG"))}


def test_popularity_counted_on_all_events_gives_the_row_that_s3_rec_printed(beauty):
    row = popularity_row(beauty, counted=beauty[0], ks=(5, 10, 20))
    assert row == {
        "Hit@5": "0.0080",
        "NDCG@5": "0.0044",
        "Hit@10": "0.0152",
        "NDCG@10": "0.0068",
        "Hit@20": "0.0217",
        "NDCG@20": "0.0084",
    }


def test_popularity_counted_on_training_events_is_the_honest_row(beauty):
    row = popularity_row(beauty, counted=beauty[0].drop_last(2), ks=(5, 10))
    assert row == {"Hit@5": "0.0075", "NDCG@5": "0.0041", "Hit@10": "0.0115", "NDCG@10": "0.0055"}


def test_counting_the_validation_event_is_the_trap(beauty):
    assert popularity_row(beauty, counted=beauty[0].drop_last(1), ks=(10,))["Hit@10"] == "0.0135"


def test_the_honest_row_also_comes_out_of_a_table_on_the_read_data_set():
    data = Dataset.from_path(Path(FOLDER, "amazon-beauty"))
    log, cut = data.log(), data.split()
    counts = np.bincount(cut.train.values, minlength=cut.items)
    parts = [cut.test.histories.slice(start, start + 512) for start in range(0, len(cut.test), 512)]
    lists = np.concatenate([most_popular(counts, part, 10).items for part in parts])
    table = {
        "user_id": log.users.raw(np.repeat(cut.test.users, 10)),
        "item_id": log.items.raw(lists),
        "rank": np.tile(np.arange(1, 11), len(lists)),
    }
    found = evaluate(table, data)
    row = {name: f"{found.metrics[name]:.4f}" for name in ("Hit@5", "NDCG@5", "Hit@10", "NDCG@10")}
    assert row == {"Hit@5": "0.0075", "NDCG@5": "0.0041", "Hit@10": "0.0115", "NDCG@10": "0.0055"}
    assert (found.figures["answered"], found.figures["already_seen"], found.figures["unknown_items"]) == (1, 0, 0)


@pytest.fixture(scope="module")
def sessions():
    clicks = defaultdict(list)
    with read("yoochoose-100k", "yoochoose-clicks-100k_test.txt.gz") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            clicks[row["SessionId"]].append(row["ItemId"])
    return clicks


@pytest.mark.parametrize(
    ("algorithm", "recall", "mrr"),
    [("ar", ".5917", ".3160"), ("sr", ".5607", ".3275"), ("vsknn", ".6098", ".3342"), ("gru4rec", ".5711", ".3289")],
)
def test_published_session_lists(sessions, algorithm, recall, mrr):
    with read("yoochoose-100k", f"recoms_rsc15_100k_{algorithm}.csv.gz") as file:
        positions = [(row["SessionId"], int(row["Position"]), row["Recommendations"]) for row in csv.DictReader(file, delimiter=";")]
    lists = [recommendations.split(",")[:20] for _, _, recommendations in positions]
    targets = [[sessions[session][position + 1]] for session, position, _ in positions]
    items = Vocabulary(item for row in lists + targets for item in row)
    found = evaluate_lists(
        RankedLists(np.array([items.indices(row) for row in lists]), np.zeros((len(lists), 20), dtype=np.float32)),
        Histories.from_rows([items.indices(row) for row in targets]),
        item_count=len(items),
        ks=(20,),
    )
    assert len({session for session, _, _ in positions}) == 99
    assert found.cases == 387
    assert f"{found.metrics['Recall@20']:.4f}" == f"0{recall}"
    assert f"{found.metrics['MRR@20']:.4f}" == f"0{mrr}"


def test_next_baskets_repeat_and_what_people_bought_before_beats_what_everybody_buys():
    """Ta-Feng; that a person's own counts beat popularity is the first finding of the next-basket literature (Li et al. 2023)."""
    data = Dataset.from_path(Path(FOLDER, "tafeng"))
    cut = split_log(basket_log(baskets(data)), SplitConfig(name="next-basket"))
    counts = np.bincount(cut.train.values, minlength=cut.items)

    def popular(batch, k):
        items = np.tile(np.argsort(-counts, kind="stable")[:k], (len(batch), 1))
        return RankedLists(items, np.zeros(items.shape, dtype=np.float32))

    def own_first(batch, k):
        rows = []
        for case in range(len(batch)):
            items, times = np.unique(batch.histories.row(case), return_counts=True)
            own = items[np.lexsort((items, -counts[items], -times))][:k]
            rest = [item for item in np.argsort(-counts, kind="stable")[: 2 * k].tolist() if item not in own]
            rows.append([*own.tolist(), *rest][:k])
        return RankedLists(np.array(rows), np.zeros((len(rows), k), dtype=np.float32))

    some = cut.test.take(np.arange(0, len(cut.test), 10))
    facts = {"item_count": cut.items, "split": "test", "protocol": describe_protocol(cut.config), "ks": (10,)}
    found = {answer.__name__: evaluate_answer(answer, some, **facts).metrics for answer in (popular, own_first)}
    assert found["own_first"]["Recall@10"] > found["popular"]["Recall@10"]
    assert found["own_first"]["Recall-repeated@10"] > 0.3
    assert found["popular"]["Recall-fresh@10"] > found["own_first"]["Recall-fresh@10"]
