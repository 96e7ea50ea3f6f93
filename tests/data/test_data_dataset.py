"""Dataset: canonical columns from anything, the log, hashes; catalogue; views."""

import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsmith.data import Catalogue, Dataset, ViewConfig, baskets, interaction_matrix, popularity, sessions
from recsmith.data.encoding import Codes
from recsmith.data.view import k_core
from recsmith.errors import DataError, UserError

EVENTS = {"user": ["b", "a", "a", "b"], "movieId": [10, 20, 10, 30], "ts": [3, 2, 1, 3], "stars": [5, 4, 3, 2]}


def test_usual_names_are_recognised_and_recorded():
    data = Dataset.from_frame(EVENTS)
    assert data.interactions.columns == ["user_id", "item_id", "timestamp", "rating"]
    assert data.interactions.dtypes == [pl.String, pl.Int64, pl.Int64, pl.Float64]
    assert data.source["columns"] == {"user_id": "user", "item_id": "movieId", "timestamp": "ts", "rating": "stars"}
    assert len(data) == 4


def test_a_mapping_wins_over_usual_names():
    frame = {"user_id": [1, 2], "who": [3, 4], "item": [5, 6]}
    data = Dataset.from_frame(frame, columns={"user": "who"})
    assert data.interactions["user_id"].to_list() == [3, 4]
    assert data.source["notes"] == ["column `user_id` left out: `who` was named instead"]


def test_context_columns_stay():
    data = Dataset.from_frame({"user": [1, 2], "item": [1, 2], "device": ["tv", "web"], "event": ["view", "buy"]})
    assert data.interactions.columns == ["user_id", "item_id", "event_type", "device"]


def test_sessions_count_as_users_where_there_are_no_users():
    data = Dataset.from_frame({"session": ["x", "y"], "item": [1, 2]})
    assert data.interactions.columns == ["user_id", "item_id", "session_id"]
    assert "counts as one user" in data.source["notes"][0]


@pytest.mark.parametrize(
    ("times", "seconds", "note"),
    [
        ([1_600_000_000, 1_700_000_000], [1_600_000_000, 1_700_000_000], None),
        ([1_600_000_000_500, 1_700_000_000_000], [1_600_000_000.5, 1_700_000_000.0], "milliseconds"),
        ([1_600_000_000_000_000_000, 1_700_000_000_000_000_000], [1.6e9, 1.7e9], "nanoseconds"),
        ([1, 1_700_000_000_000], [1, 1_700_000_000_000], None),
        ([0, 1], [0, 1], None),
        ([dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 2)], [1_577_836_800, 1_577_923_200], "converted from Datetime"),
        ([dt.date(2020, 1, 1), dt.date(2020, 1, 2)], [1_577_836_800, 1_577_923_200], "converted from Date"),
        (["2020-01-01T00:00:00Z", "2020-01-02"], [1_577_836_800, 1_577_923_200], "converted from text"),
        (["2020-01-01 00:00:00.250", "2020-01-02 00:00"], [1_577_836_800.25, 1_577_923_200.0], "converted from text"),
        (["2020-01-01T02:00:00+02:00", "2020-01-02T00:00:00+0000"], [1_577_836_800, 1_577_923_200], "converted from text"),
        (["12", "13.5"], [12.0, 13.5], None),
    ],
)
def test_times_become_seconds_and_the_report_says_so(times, seconds, note):
    data = Dataset.from_frame({"user": [1, 2], "item": [1, 2], "time": times})
    assert data.interactions["timestamp"].to_list() == seconds
    assert [note in text for text in data.source["notes"]] == ([True] if note else [])


def test_other_tables_than_polars():
    class Exchange:
        def __init__(self, frame):
            self._frame = frame

        def __arrow_c_stream__(self, requested_schema=None):
            return self._frame.__arrow_c_stream__(requested_schema)

    frame = pl.DataFrame(EVENTS)
    expected = Dataset.from_frame(frame)
    assert Dataset.from_frame(frame.lazy()).hash == expected.hash
    assert Dataset.from_frame(Exchange(frame)).hash == expected.hash
    assert Dataset.from_frame(EVENTS).hash == expected.hash


def test_ids_of_log_catalogue_and_users_agree_in_type():
    data = Dataset.from_frame({"user": [1, 2], "item": [1, 2]}, catalogue={"item_id": ["1", "2", "x"], "title": ["A", "B", "C"]})
    assert data.interactions["item_id"].to_list() == ["1", "2"]
    other = Dataset.from_frame(
        {"user": ["1", "2"], "item": ["1", "y"]}, catalogue={"sku": [1, 2]}, users={"user_id": [1, 2], "age": [30, 40]}
    )
    assert other.catalogue.frame["item_id"].to_list() == ["1", "2"]
    assert other.users["user_id"].to_list() == ["1", "2"]


def test_log_sorts_stably():
    log = Dataset.from_frame(EVENTS).log()
    assert log.users.ids.to_list() == ["a", "b"]
    assert log.histories.row(0).tolist() == [0, 1]
    assert log.histories.row(1).tolist() == [0, 2]  # a tie: as in the file
    assert log.histories.times.tolist() == [1, 2, 3, 3]
    assert log.histories.weights.tolist() == [3, 4, 5, 2]
    assert log.histories.weights.dtype == np.float32


def test_hash_is_of_content_not_of_chunks():
    frame = pl.DataFrame({"user": list(range(1000)), "item": ["x", "yz"] * 500, "tags": [["a"], []] * 500})
    chunked = pl.concat([frame[:300], frame[300:]], rechunk=False)
    first, second = (Dataset.from_frame(table) for table in (frame, chunked))
    assert first.hash == second.hash
    assert Dataset.from_frame(frame.reverse()).hash != first.hash
    shifted = frame.with_columns(tags=pl.col("tags").shift(1))
    assert Dataset.from_frame(shifted).hash != first.hash
    assert first.with_tables(catalogue={"item_id": ["x"]}).hash != first.hash
    assert Dataset.from_frame({"user": [1, 1], "item": ["ab", "c"]}).hash != Dataset.from_frame({"user": [1, 1], "item": ["a", "bc"]}).hash


def test_inspect_counts_what_is_wrong():
    frame = {"user": [1, 1, 1, 2, 2, 3], "item": [1, 1, 2, 1, 9, 1], "time": [5, 5, 4, 1, 1, 7], "rating": [5.0, 5, 1, 3, 3, 3]}
    report = Dataset.from_frame(frame, catalogue={"item_id": [1, 2, 3], "title": ["A", None, "C"]}).inspect()
    assert (report.users, report.items, report.events) == (3, 3, 6)
    assert report.duplicates == 1
    assert report.repeated_pairs == 1
    assert report.out_of_order == 1
    assert report.last_tie_users == 2
    assert report.items_without_catalogue == 1
    assert report.missing == {"catalogue.title": 1}
    assert report.ratings == {"1": 1, "3": 3, "5": 2}
    assert report.time_range == ("1970-01-01T00:00:01", "1970-01-01T00:00:07")
    assert report.density == pytest.approx(5 / 9)
    assert any("not in the catalogue" in warning for warning in report.warnings)
    assert any("missing_items=drop" in text for text in report.suggestions)
    assert report.as_dict()["columns"]["catalogue"] == {"item_id": "Int64", "title": "category"} | {"title": "text"}


# ---- views -----------------------------------------------------------------------------------------------------------------


def log_of(pairs):
    return Dataset.from_frame({"user": [user for user, _ in pairs], "item": [item for _, item in pairs]})


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=80), st.integers(1, 4), st.integers(1, 4))
def test_k_core_is_the_largest_fixpoint(pairs, users, items):
    keep = k_core(Codes.of(log_of(pairs).interactions), users=users, items=items)
    naive = list(range(len(pairs)))
    while True:
        bad = [
            i for i in naive
            if sum(pairs[j][0] == pairs[i][0] for j in naive) < users or sum(pairs[j][1] == pairs[i][1] for j in naive) < items
        ]  # fmt: skip
        if not bad:
            break
        naive = [i for i in naive if i not in set(bad)]
    assert np.flatnonzero(keep).tolist() == naive


def test_selecting_a_core_keeps_log_and_codes_together():
    data = log_of([(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 7)])
    core = data.select(ViewConfig(min_user_events=2, min_item_events=2))
    assert core.interactions.rows() == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert core.log().items.ids.to_list() == [1, 2]
    assert core.log().histories.values.tolist() == [0, 1, 0, 1]
    assert data.select(ViewConfig()).log().histories.values.tolist() == data.log().histories.values.tolist()


def test_filters():
    data = Dataset.from_frame(
        {"user": [1, 1, 1, 2], "item": [1, 1, 2, 3], "time": [9, 3, 5, 7], "rating": [1.0, 5, 5, 5], "event": list("abab")}
    )

    def items(**settings):
        return data.select(ViewConfig(**settings)).interactions["item_id"].to_list()

    assert items(min_rating=4) == [1, 2, 3]
    assert items(since=5, until=9) == [2, 3]
    assert items(event_types=["a"]) == [1, 2]
    assert data.select(ViewConfig(repeats="first")).interactions["timestamp"].to_list() == [3, 5, 7]
    assert data.select(ViewConfig(repeats="last")).interactions["timestamp"].to_list() == [9, 5, 7]


def test_min_rating_without_ratings_has_no_effect_and_is_noted():
    data = log_of([(1, 1), (2, 2)]).select(ViewConfig(min_rating=4))
    assert len(data) == 2
    assert data.source["notes"] == ["min_rating = 4.0 has no effect: the log has no ratings"]


def test_filters_that_do_not_fit():
    data = log_of([(1, 1), (2, 2)])
    with pytest.raises(DataError, match="has no times, so `since` and `until` cannot be applied"):
        data.select(ViewConfig(since=1))
    with pytest.raises(DataError, match="has no event types"):
        data.select(ViewConfig(event_types=["buy"]))
    with pytest.raises(DataError, match=r"no event of 2 is left under the view \(min_user_events=3\); loosen a filter"):
        data.select(ViewConfig(min_user_events=3))
    typed = Dataset.from_frame({"user": [1, 2], "item": [1, 2], "event": ["view", "buy"]})
    with pytest.raises(DataError, match="no event of type `bye`; it has `buy`, `view`"):
        typed.select(ViewConfig(event_types=["bye"]))


def test_items_that_the_catalogue_lacks():
    data = Dataset.from_frame({"user": [1, 1, 2], "item": [1, 8, 8]}, catalogue={"item_id": [1, 2]})
    with pytest.raises(DataError, match=r"row 2, column `item_id`: item 8 is not in the catalogue \(1 such items, 2 events\); go on with"):
        data.split()
    assert data.select(ViewConfig(missing_items="drop")).interactions["item_id"].to_list() == [1]
    kept = data.select(ViewConfig(missing_items="keep"))
    assert len(kept) == 3
    with pytest.raises(DataError, match="finds no test case"):
        kept.split()


# ---- catalogue ---------------------------------------------------------------------------------------------------------------

ITEMS = {
    "item_id": [1, 2, 3],
    "title": ["Dune", "Emma", None],
    "genres": [["scifi", "epic"], [], None],
    "year": [1965, 1815, None],
    "cover": ["a.png", "b.jpg", "c.png"],
    "language": ["en", "en", "de"],
    "code": ["x1", "x2", "x3"],
}


def test_kinds_are_inferred_and_may_be_given():
    catalogue = Catalogue.from_frame(ITEMS)
    assert catalogue.kinds == {
        "title": "text", "genres": "list", "year": "number", "cover": "image", "language": "category", "code": "category",
    }  # fmt: skip
    assert Catalogue.from_frame(ITEMS, kinds={"year": "category"}).kinds["year"] == "category"
    assert len(catalogue) == 3


def test_titles_and_texts():
    catalogue = Catalogue.from_frame(ITEMS)
    ids = pl.Series([2, 99, 1])
    assert catalogue.titles(ids).to_list() == ["Emma", None, "Dune"]
    assert catalogue.texts(ids, template="{title}. {genres}") == ["Emma", "", "Dune. scifi, epic"]
    assert catalogue.texts(pl.Series(["3"]), template="{title} ({year}) in {language}") == ["in de"]
    assert catalogue.default_template() == "{title}. {genres}"
    assert catalogue.texts(ids) == ["Emma", "", "Dune. scifi, epic"]


def test_the_first_text_stands_for_a_missing_title():
    catalogue = Catalogue.from_frame({"item_id": [1], "blurb": ["A long story"]})
    assert catalogue.title_column == "blurb"
    assert Catalogue.from_frame({"item_id": [1], "price": [2.5]}).titles(pl.Series([1])).to_list() == [None]


def test_categories_that_describe_are_part_of_the_default_text():
    frame = {"item_id": list(range(8)), "title": [f"T{i}" for i in range(8)], "shelf": ["art", "war"] * 4, "url": ["http://x"] * 8}
    assert Catalogue.from_frame(frame).default_template() == "{title}. {shelf}"


def test_catalogues_that_cannot_be_used():
    with pytest.raises(DataError, match="row 3, column `sku`: item 'a' stands already in row 1"):
        Catalogue.from_frame({"sku": ["a", "b", "a"]})
    with pytest.raises(DataError, match=r"catalogue has no text: none of its columns \(`item_id`, `price`\) holds words"):
        Catalogue.from_frame({"item_id": [1], "price": [2.5]}).texts(pl.Series([1]))
    with pytest.raises(UserError, match="names `titel`, which is no column of the catalogue; did you mean `title`"):
        Catalogue.from_frame(ITEMS).texts(pl.Series([1]), template="{titel}")
    with pytest.raises(UserError, match="names no column"):
        Catalogue.from_frame(ITEMS).texts(pl.Series([1]), template="plain")
    with pytest.raises(DataError, match="no column `yaer` of kind 'number'; did you mean `year`"):
        Catalogue(pl.DataFrame(ITEMS), {"yaer": "number"})
    with pytest.raises(UserError, match="cannot be of kind `picture`"):
        Catalogue(pl.DataFrame(ITEMS), {"cover": "picture"})
    with pytest.raises(DataError, match="no column that is known to hold the item; it has `a`, `b`; say which"):
        Catalogue.from_frame({"a": [1], "b": [2]})


# ---- other shapes --------------------------------------------------------------------------------------------------------------


def test_matrix_and_popularity():
    data = Dataset.from_frame({"user": [1, 1, 1, 2], "item": [1, 1, 2, 3], "rating": [2.0, 3, 4, 5]})
    log = data.log()
    assert popularity(log.histories, 3).tolist() == [2, 1, 1]
    assert interaction_matrix(log.histories, 3).toarray().tolist() == [[1, 1, 0], [0, 0, 1]]
    assert interaction_matrix(log.histories, 3, values="count").toarray().tolist() == [[2, 1, 0], [0, 0, 1]]
    assert interaction_matrix(log.histories, 3, values="weight").toarray().tolist() == [[5, 4, 0], [0, 0, 5]]
    assert log.histories.weights.tolist() == [2, 3, 4, 5]


def test_sessions_by_pause():
    data = Dataset.from_frame({"user": [1, 1, 1, 2], "item": [1, 2, 3, 1], "time": [0, 1800, 3601, 3601]})
    cut = sessions(data)
    assert cut.histories.lengths.tolist() == [2, 1, 1]
    assert cut.rows.tolist() == [0, 0, 1]
    assert len(sessions(data, gap=1e9).rows) == 2


def test_sessions_by_id():
    data = Dataset.from_frame({"user": [1, 1, 1, 1], "item": [1, 2, 3, 4], "time": [5, 1, 6, 2], "session": ["b", "a", "b", "a"]})
    cut = sessions(data)
    assert [cut.histories.row(index).tolist() for index in range(2)] == [[1, 3], [0, 2]]
    assert cut.rows.tolist() == [0, 0]
    with pytest.raises(DataError, match="neither session ids nor times"):
        sessions(log_of([(1, 1), (2, 2)]))


def test_baskets():
    day = 86_400
    data = Dataset.from_frame({"user": [2, 1, 1, 1], "item": [1, 2, 3, 4], "time": [5, day + 7, 9, day + 8]})
    by_day = baskets(data, by="day")
    assert by_day.user_offsets.tolist() == [0, 2, 3]
    assert [by_day.baskets.row(index).tolist() for index in range(3)] == [[2], [1, 3], [0]]
    assert baskets(data).baskets.lengths.tolist() == [1, 1, 1, 1]
    assert by_day.of_user(0).values.tolist() == [2, 1, 3]
    named = Dataset.from_frame({"user": [1, 1, 1], "item": [1, 2, 3], "basket_id": [4, 2, 4]})
    assert [baskets(named).baskets.row(index).tolist() for index in range(2)] == [[0, 2], [1]]
    with pytest.raises(DataError, match="no column `timestamp`, so baskets by 'day' cannot be made"):
        baskets(named, by="day")
