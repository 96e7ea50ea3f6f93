"""The golden facts of real logs, where the folder that RECSMITH_DATA names is present."""

import os
from pathlib import Path

import pytest

from recsmith.data import Dataset, SplitConfig, ViewConfig, baskets, shuffle_ties, split_log

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif("RECSMITH_DATA" not in os.environ, reason="RECSMITH_DATA names no folder of real data"),
]


def real(name):
    folder = Path(os.environ["RECSMITH_DATA"]) / name
    if not folder.is_dir():
        pytest.skip(f"RECSMITH_DATA has no {name}")
    return Dataset.from_path(folder)


@pytest.mark.parametrize(
    ("name", "reader", "users", "items", "events"),
    [
        ("ml-latest-small", "movielens", 610, 9_724, 100_836),
        ("amazon-beauty", "s3rec", 22_363, 12_101, 198_502),
        ("amazon-instruments-reviews", "amazon", 1_429, 900, 10_261),
        ("lastfm", "lastfm", 1_892, 17_632, 92_834),
        ("yoochoose-100k", "yoochoose", 21_210, 2_933, 83_846),
        ("tafeng", "tafeng", 9_841, 4_935, 396_783),
    ],
)
def test_sizes(name, reader, users, items, events):
    data = real(name)
    report = data.inspect()
    assert data.source["reader"] == reader
    assert (report.users, report.items, report.events) == (users, items, events)
    assert report.items_without_catalogue == 0


def test_movielens_ties():
    data = real("ml-latest-small")
    assert data.inspect().last_tie_users == 94
    assert data.split().figures["test_ties"] == 94
    liked = data.select(ViewConfig(min_rating=4))
    assert liked.inspect().last_tie_users == 63
    assert liked.users is None
    shuffled = split_log(shuffle_ties(data.log(), 0), SplitConfig())
    changed = (shuffled.test.targets.values != data.split().test.targets.values).sum()
    assert 30 <= changed <= 94


def test_beauty_texts():
    data = real("amazon-beauty")
    catalogue = data.catalogue
    assert catalogue.default_template() == "{title}"
    assert sum(text != "" for text in catalogue.texts(catalogue.frame["item_id"])) == 12_086
    split = data.split()
    assert (len(split.test), len(split.train.values)) == (22_363, 153_776)


def test_instruments_reviews():
    reviews = real("amazon-instruments-reviews").reviews
    assert 480 < reviews["text"].str.len_chars().mean() < 495


def test_tafeng_baskets():
    assert len(baskets(real("tafeng")).baskets) == 73_355
