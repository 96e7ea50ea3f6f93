"""Protocols beyond the first five: rolling origins, new people, session prefixes, next baskets, held-out ratings; and their hashes."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsmith.data import Dataset, SplitConfig, basket_log, baskets, rolling_splits, session_log, sessions, split_log
from recsmith.errors import ConfigError, DataError


def dataset(users, *, items=None, **columns):
    return Dataset.from_frame({"user_id": users, "item_id": items if items is not None else list(range(len(users))), **columns})


def lists(histories):
    return [histories.row(index).tolist() for index in range(len(histories))]


# ---- what holds for all ----------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["global-temporal", "user-cold-start", "session-prefixes", "next-basket", "explicit-rating"]),
)
def test_no_event_is_in_two_parts_and_no_history_holds_its_own_targets(seed, name):
    """Every event has an item of its own, so that events can be followed."""
    random = np.random.default_rng(seed)
    count = 80
    data = dataset(random.integers(0, 6, count), timestamp=random.integers(0, 40, count) * 1_000, rating=random.integers(1, 6, count))
    log = data.log()
    try:
        split = split_log(log, SplitConfig(name=name, validation_share=0.2, test_share=0.2, seed=seed % 5, known_events=2, origins=2))
    except DataError:
        return
    owner = dict(zip(log.histories.values.tolist(), log.histories.rows.tolist(), strict=True))
    targets = [set(part.targets.values.tolist()) for part in (split.validation, split.test)]
    train = set(split.train.values.tolist())
    assert not targets[0] & targets[1]
    assert not train & (targets[0] | targets[1])
    assert len(split.validation.targets.values) == len(targets[0])
    for part in (split.validation, split.test):
        for case in range(len(part)):
            seen, asked = part.histories.row(case).tolist(), part.targets.row(case).tolist()
            assert asked
            assert not set(seen) & set(asked)
            assert len({owner[item] for item in seen + asked}) == 1
            assert part.users[case] in (-1, owner[asked[0]])


# ---- worked examples -------------------------------------------------------------------------------------------------------


def test_rolling_origins_train_on_what_came_before_and_ignore_what_comes_after():
    times = list(range(20))
    log = dataset([0, 1] * 10, timestamp=times).log()
    config = SplitConfig(name="global-temporal", validation_share=0.2, test_share=0.4, origins=2)
    first, second = rolling_splits(log, config)
    assert [len(first.train.values), len(second.train.values)] == [8, 12]
    assert sorted(first.validation.targets.values.tolist()) == [8, 9, 10, 11]
    assert sorted(first.test.targets.values.tolist()) == [12, 13, 14, 15]
    assert sorted(second.test.targets.values.tolist()) == [16, 17, 18, 19]
    whole = split_log(log, SplitConfig(name="global-temporal", validation_share=0.2, test_share=0.4))
    assert sorted(whole.test.targets.values.tolist()) == list(range(12, 20))


def test_new_people_show_a_few_events_and_train_nothing():
    log = dataset([0] * 5 + [1] * 6 + [2] * 3 + [3] * 5 + [4] * 7).log()
    split = split_log(log, SplitConfig(name="user-cold-start", validation_share=0.25, test_share=0.25, known_events=3))
    assert split.figures["users_too_short"] == 1
    for part in (split.validation, split.test):
        assert part.users.tolist() == [-1]
        assert part.histories.lengths.tolist() == [3]
        assert part.targets.lengths.tolist() == [1]
        row = int(log.histories.rows[log.histories.values == part.targets.values[0]][0])
        assert split.train.lengths[row] == 0
        assert part.histories.row(0).tolist() == log.histories.row(row)[:3].tolist()


def test_every_position_of_a_held_out_session_is_predicted():
    """Two people; the second session of person 1 (items 6, 7, 8) is the last to end."""
    data = dataset([0, 0, 0, 1, 1, 1, 1, 1, 1], items=[0, 1, 2, 3, 4, 5, 6, 7, 8], timestamp=[0, 60, 120, 0, 60, 130, 9000, 9060, 9120])
    split = split_log(data.log(), SplitConfig(name="session-prefixes", validation_share=0.3, test_share=0.3))
    assert lists(split.test.histories) == [[6], [6, 7]]
    assert lists(split.test.targets) == [[7], [8]]
    assert split.test.users.tolist() == [-1, -1]  # the other session of this person validates, so nothing of hers trains
    assert lists(split.validation.targets) == [[4], [5]]
    assert lists(split.train) == [[0, 1, 2], []]
    assert (split.figures["sessions"], split.figures["test_sessions"]) == (3, 1)


def test_rows_may_be_sessions_already():
    data = dataset([0, 0, 0, 1, 1, 0, 0], session_id=["a", "a", "a", "b", "b", "c", "c"], timestamp=[5, 6, 7, 1, 2, 50, 60])
    log = session_log(sessions(data))
    assert lists(log.histories) == [[0, 1, 2], [5, 6], [3, 4]]
    split = split_log(log, SplitConfig(name="session-prefixes", session_gap=0, validation_share=0.34, test_share=0.34))
    assert lists(split.test.histories) == [[5]]
    assert lists(split.validation.targets) == [[1], [2]]
    assert lists(split.train) == [[], [], [3, 4]]


def test_the_last_basket_is_predicted_as_a_set():
    times = [1, 1, 2, 3, 3, 3, 1, 2, 2]
    data = dataset([0, 0, 0, 0, 0, 0, 1, 1, 1], items=[4, 5, 6, 4, 7, 8, 4, 5, 6], timestamp=times)
    split = split_log(data.log(), SplitConfig(name="next-basket"))
    assert data.log().items.raw(split.test.targets.row(0)).to_list() == [4, 7, 8]
    assert data.log().items.raw(split.validation.targets.row(0)).to_list() == [6]
    assert data.log().items.raw(split.train.row(0)).to_list() == [4, 5]
    assert split.train.lengths.tolist() == [2, 3]  # two baskets are too few: person 1 only trains
    assert split.figures["users_too_short"] == 1


def test_baskets_with_ids_become_a_log():
    data = dataset([0, 0, 0, 0], items=[9, 8, 7, 8], basket_id=["x", "y", "y", "z"])
    log = basket_log(baskets(data))
    assert log.histories.times.tolist() == [0, 1, 1, 2]
    split = split_log(log, SplitConfig(name="next-basket"))
    assert log.items.raw(split.test.targets.row(0)).to_list() == [8]


def test_baskets_of_a_day():
    day = 86_400
    data = dataset([0] * 5, timestamp=[0, 100, day, day + 5, 2 * day])
    split = split_log(data.log(), SplitConfig(name="next-basket", basket_seconds=day))
    assert (lists(split.test.targets), lists(split.validation.targets), lists(split.train)) == ([[4]], [[2, 3]], [[0, 1]])


def test_ratings_are_held_out_at_random_with_their_values():
    random = np.random.default_rng(0)
    users = np.repeat(np.arange(20), 10)
    ratings = random.integers(1, 6, 200).astype(float)
    data = dataset(users, rating=ratings)
    split = split_log(data.log(), SplitConfig(name="explicit-rating", seed=3))
    assert len(split.test.targets.values) == len(split.validation.targets.values) == 20
    assert split.test.targets.weights.tolist() == ratings[split.test.targets.values].tolist()
    row = int(split.test.users[0])
    assert split.test.histories.row(0).tolist() == split.train.row(row).tolist()
    other = split_log(data.log(), SplitConfig(name="explicit-rating", seed=4))
    assert other.test.targets.values.tolist() != split.test.targets.values.tolist()


# ---- names, hashes, mistakes -----------------------------------------------------------------------------------------------


def test_the_hash_is_over_what_decides():
    assert SplitConfig().hash == SplitConfig(seed=7, test_share=0.3).hash
    assert SplitConfig(name="ratio").hash != SplitConfig(name="ratio", test_share=0.3).hash
    assert SplitConfig().hash != SplitConfig(name="next-basket").hash
    assert len(SplitConfig().hash) == 8
    assert SplitConfig(name="user-cold-start").deciding["known_events"] == 3
    assert SplitConfig(name="next-basket").repeats_items
    assert not SplitConfig().repeats_items


@pytest.mark.parametrize(
    ("config", "columns", "error", "message"),
    [
        ({"name": "next-basket"}, {}, DataError, "`next-basket` needs times"),
        ({"name": "session-prefixes"}, {}, DataError, "needs times to cut sessions; .* set session_gap to 0"),
        ({"name": "explicit-rating"}, {}, DataError, "needs ratings and the log has none"),
        ({"name": "global-temporal", "origin": 2, "origins": 2}, {"timestamp": range(6)}, ConfigError, "there are origins 0 to 1"),
        ({"name": "user-cold-start", "known_events": 50}, {}, DataError, "finds no test case"),
    ],
)
def test_logs_that_cannot_be_cut_so(config, columns, error, message):
    data = Dataset.from_frame(pl.DataFrame({"user_id": [0, 0, 0, 1, 1, 1], "item_id": range(6), **columns}))
    with pytest.raises(error, match=message):
        split_log(data.log(), SplitConfig(**config))


def test_only_time_has_rolling_origins():
    with pytest.raises(ConfigError, match="`ratio` has no rolling origins"):
        rolling_splits(dataset([0, 0, 1, 1]).log(), SplitConfig(name="ratio"))
