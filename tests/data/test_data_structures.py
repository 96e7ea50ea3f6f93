"""Vocabulary and Histories against naive models, for any input."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsmith.data import Histories, Vocabulary
from recsmith.data.encoding import Codes, encode, event_order

integers = st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=60)
words = st.lists(st.text(max_size=20), min_size=1, max_size=60)
rows_of_items = st.lists(st.lists(st.integers(0, 50), max_size=8), min_size=1, max_size=12)


def packed(rows, *, extras=True):
    histories = Histories.from_rows(rows)
    if not extras:
        return histories
    count = len(histories.values)
    return Histories(histories.values, histories.offsets, np.arange(count) * 1.5, np.arange(count, dtype=np.float32))


def unpacked(histories):
    return [histories.row(index).tolist() for index in range(len(histories))]


def consistent(histories, origin):
    """Times and weights travel with their items."""
    by_time = dict(zip(origin.times.tolist(), origin.values.tolist(), strict=True))
    return all(by_time[time] == item for time, item in zip(histories.times.tolist(), histories.values.tolist(), strict=True))


@settings(max_examples=60, deadline=None)
@given(st.one_of(integers, words))
def test_vocabulary_is_a_bijection_in_ascending_order(ids):
    vocabulary = Vocabulary(ids)
    assert vocabulary.ids.to_list() == sorted(set(ids), key=lambda raw: raw.encode() if isinstance(raw, str) else raw)
    indices = vocabulary.indices(ids)
    assert vocabulary.raw(indices).to_list() == ids
    assert sorted(set(indices.tolist())) == list(range(len(vocabulary)))


@settings(max_examples=60, deadline=None)
@given(st.one_of(integers, words, st.lists(st.integers(5, 40), min_size=1, max_size=60)))
def test_encoding_equals_the_vocabulary_s_own(ids):
    series = pl.Series("id", ids)
    vocabulary, indices = encode(series)
    assert vocabulary == Vocabulary(series)
    assert indices.tolist() == vocabulary.indices(series).tolist()


def test_texts_whose_hashes_collide_are_still_told_apart(monkeypatch):
    monkeypatch.setattr(pl.Series, "hash", lambda self, *seeds: pl.Series([7] * len(self), dtype=pl.UInt64))
    vocabulary, indices = encode(pl.Series("id", ["b", "a", "b"]))
    assert vocabulary.ids.to_list() == ["a", "b"]
    assert indices.tolist() == [1, 0, 1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.booleans()), min_size=1, max_size=40))
def test_codes_of_a_part_equal_those_of_the_filtered_table(events):
    frame = pl.DataFrame({"user_id": [f"u{u}" for u, _, _ in events], "item_id": [i for _, i, _ in events]})
    keep = np.array([kept for _, _, kept in events])
    part = Codes.of(frame).where(keep)
    direct = Codes.of(frame.filter(pl.Series(keep)))
    assert part.users.ids.to_list() == direct.users.ids.to_list()
    assert part.items.ids.to_list() == direct.items.ids.to_list()
    assert part.rows.tolist() == direct.rows.tolist()
    assert part.values.tolist() == direct.values.tolist()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0, 1, 2, 70_000, 70_001]), st.integers(0, 3)), max_size=40), st.booleans())
def test_order_of_events_is_stable(events, timed):
    rows = np.array([row for row, _ in events], dtype=np.int64)
    times = np.array([time for _, time in events], dtype=np.float64) if timed else None
    expected = sorted(range(len(events)), key=lambda i: (events[i][0], events[i][1] if timed else 0))
    assert event_order(rows, times).tolist() == expected


@settings(max_examples=60, deadline=None)
@given(rows_of_items, st.data())
def test_histories_behave_like_lists(rows, data):
    histories = packed(rows)
    length = data.draw(st.integers(0, 9))
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=10))
    start = data.draw(st.integers(0, len(rows)))
    stop = data.draw(st.integers(start, len(rows)))
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=len(histories.values), max_size=len(histories.values))), dtype=bool)
    kept, position = [], 0
    for row in rows:
        kept.append([item for offset, item in enumerate(row) if keep[position + offset]])
        position += len(row)
    results = {
        "take": (histories.take(np.array(chosen, dtype=np.int64)), [rows[index] for index in chosen]),
        "tail": (histories.tail(length), [row[max(len(row) - length, 0) :] for row in rows]),
        "drop_last": (histories.drop_last(length), [row[: max(len(row) - length, 0)] for row in rows]),
        "slice": (histories.slice(start, stop), rows[start:stop]),
        "where": (histories.where(keep), kept),
    }
    for name, (result, expected) in results.items():
        assert unpacked(result) == expected, name
        assert consistent(result, histories), name
    assert histories.lengths.tolist() == [len(row) for row in rows]
    assert histories.rows.tolist() == [index for index, row in enumerate(rows) for _ in row]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.lists(st.integers(0, 9), max_size=5), st.lists(st.integers(0, 9), max_size=5)), min_size=1, max_size=8))
def test_append_joins_row_by_row(pairs):
    first, second = (packed([pair[side] for pair in pairs], extras=False) for side in (0, 1))
    assert unpacked(first.append(second)) == [a + b for a, b in pairs]


def test_append_needs_equally_many_rows():
    with pytest.raises(ValueError, match="cannot append 1 rows to 2"):
        Histories.from_rows([[1], [2]]).append(Histories.from_rows([[1]]))
