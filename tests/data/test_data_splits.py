"""The five protocols: what they promise, for any log, and their worked examples."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsmith.data import Dataset, SplitConfig, shuffle_ties, split_log
from recsmith.errors import ConfigError, DataError

PROTOCOLS = ["leave-one-out", "ratio", "global-temporal", "strong-generalisation", "item-cold-start"]


def dataset(users, *, items=None, times=None):
    columns = {"user_id": users, "item_id": items if items is not None else list(range(len(users)))}
    return Dataset.from_frame(columns if times is None else {**columns, "timestamp": times})


def lists(histories):
    return [histories.row(index).tolist() for index in range(len(histories))]


@st.composite
def logs(draw):
    """Every event has an item of its own times 5 users at most, so that events can be followed through a split."""
    count = draw(st.integers(12, 60))
    users = draw(st.lists(st.integers(0, 4), min_size=count, max_size=count))
    times = draw(st.lists(st.integers(0, 20), min_size=count, max_size=count))
    return dataset([0, 1, 0, 1, *users], times=[0, 0, 20, 20, *times])


@settings(max_examples=80, deadline=None)
@given(logs(), st.sampled_from(PROTOCOLS), st.integers(0, 3))
def test_parts_are_disjoint_and_in_order(data, name, seed):
    config = SplitConfig(name=name, seed=seed, validation_share=0.2, test_share=0.2)
    log = data.log()
    try:
        split = split_log(log, config)
    except DataError:
        return
    every = log.histories
    position = {item: index for index, item in enumerate(every.values.tolist())}
    owner = every.rows
    train = {position[item] for item in split.train.values.tolist()}
    parts = [{position[item] for item in part.targets.values.tolist()} for part in (split.validation, split.test)]
    assert not parts[0] & parts[1]
    assert not train & (parts[0] | parts[1])
    assert len(split.train) == len(every)
    for part in (split.validation, split.test):
        assert (part.targets.lengths >= 1).all()
        for case in range(len(part)):
            seen = [position[item] for item in part.histories.row(case).tolist()]
            asked = [position[item] for item in part.targets.row(case).tolist()]
            assert seen == sorted(seen)
            assert asked == sorted(asked)
            assert max(seen, default=-1) < min(asked)
            assert len({owner[index] for index in seen + asked}) == 1
            user = part.users[case]
            trained = split.train.lengths[owner[asked[0]]] > 0
            assert user == (owner[asked[0]] if trained else -1)
    if name == "global-temporal":
        assert every.times[sorted(train)].max() < min(every.times[index] for index in parts[0] | parts[1])
    if name == "item-cold-start":
        cold = set(every.values.tolist()) - set(split.train.values.tolist())
        assert not {item for part in (split.validation, split.test) for item in part.histories.values.tolist()} & cold


def test_leave_one_out_worked_example():
    split = dataset([7, 7, 7, 7, 8, 8, 9, 9, 9], items=[1, 2, 3, 4, 1, 2, 3, 2, 1], times=[4, 3, 2, 1, 1, 2, 1, 2, 3]).split()
    assert lists(split.train) == [[3, 2], [0, 1], [2]]
    assert split.validation.users.tolist() == split.test.users.tolist() == [0, 2]
    assert lists(split.validation.histories) == [[3, 2], [2]]
    assert lists(split.validation.targets) == [[1], [1]]
    assert lists(split.test.histories) == [[3, 2, 1], [2, 1]]
    assert lists(split.test.targets) == [[0], [0]]
    assert split.figures["users_too_short"] == 1
    assert split.items == 4


def test_ties_keep_the_order_of_the_file_and_are_counted():
    split = dataset([1, 1, 1, 1, 2, 2, 2], items=[30, 10, 20, 5, 1, 2, 3], times=[1, 1, 1, 1, 1, 2, 3]).split()
    assert split.test.targets.row(0).tolist() == [3]  # raw item 5, the last in the file
    assert split.figures["test_ties"] == 1
    assert split.figures["validation_ties"] == 1
    assert split.figures["tie_rule"] == "events of equal time keep the order of the file"


def test_without_times_the_tie_rule_says_so():
    figures = dataset([1, 1, 1, 2, 2, 2]).split().figures
    assert figures["tie_rule"] == "no times: the order of the file is the order of events"
    assert figures["test_ties"] == 0


def test_shuffled_ties_move_only_ties():
    data = dataset([1] * 40 + [2] * 3, times=[5] * 20 + [6] * 20 + [1, 2, 3])
    log = data.log()
    shuffled = shuffle_ties(log, 3)
    assert shuffled.histories.values.tolist() != log.histories.values.tolist()
    assert shuffled.histories.times.tolist() == log.histories.times.tolist()
    assert sorted(shuffled.histories.values[:20].tolist()) == list(range(20))
    assert shuffled.histories.row(1).tolist() == [40, 41, 42]
    assert shuffle_ties(log, 3).histories.values.tolist() == shuffled.histories.values.tolist()
    untimed = dataset([1, 1, 2]).log()
    assert shuffle_ties(untimed, 3) is untimed


def test_ratio_takes_shares_of_each_user():
    split = dataset([1] * 20 + [2] * 5 + [3] * 2).split(SplitConfig(name="ratio", validation_share=0.1, test_share=0.2))
    assert split.train.lengths.tolist() == [14, 3, 2]
    assert split.validation.targets.lengths.tolist() == [2, 1]
    assert split.test.targets.lengths.tolist() == [4, 1]
    assert split.test.histories.row(1).tolist() == [20, 21, 22, 23]
    assert split.figures["users_too_short"] == 1


def test_ratio_without_validation():
    split = dataset([1] * 10 + [2] * 10).split(SplitConfig(name="ratio", validation_share=0, test_share=0.1))
    assert len(split.validation) == 0
    assert split.train.lengths.tolist() == [9, 9]


def test_global_temporal_cuts_everybody_at_the_same_times():
    data = dataset([1, 2, 1, 2, 1, 2, 1, 2, 1, 3], times=list(range(10)))
    split = data.split(SplitConfig(name="global-temporal", validation_share=0.2, test_share=0.2))
    assert split.figures["validation_from"] == 6
    assert split.figures["test_from"] == 8
    assert lists(split.train) == [[0, 2, 4], [1, 3, 5], []]
    assert split.test.users.tolist() == [0]  # user 3 has nothing before the cut
    assert lists(split.test.histories) == [[0, 2, 4, 6]]


def test_global_temporal_marks_people_unseen_in_training():
    data = dataset([1, 2, 1, 2, 1, 2, 3, 2, 3, 1], times=list(range(10)))
    split = data.split(SplitConfig(name="global-temporal", validation_share=0.2, test_share=0.2))
    assert split.test.users.tolist() == [0, -1]
    assert lists(split.test.histories) == [[0, 2, 4], [6]]


def test_strong_generalisation_holds_people_out():
    data = dataset(np.repeat(np.arange(20), 10).tolist())
    split = data.split(SplitConfig(name="strong-generalisation", validation_share=0.1, test_share=0.2, target_share=0.2))
    assert (split.train.lengths == 0).sum() == 6
    assert (len(split.validation), len(split.test)) == (2, 4)
    assert (split.test.users == -1).all()
    assert (split.test.histories.lengths == 8).all()
    assert (split.test.targets.lengths == 2).all()


def test_item_cold_start_asks_for_items_never_trained():
    random = np.random.default_rng(0)
    data = dataset(random.integers(0, 30, 600).tolist(), items=random.integers(0, 50, 600).tolist(), times=list(range(600)))
    split = data.split(SplitConfig(name="item-cold-start", test_share=0.1, validation_share=0.1))
    trained = split.trained_items
    assert (~trained).sum() == 10
    assert not trained[split.test.targets.values].any()
    assert trained[split.test.histories.values].all()
    assert (split.test.histories.lengths > 0).all()
    assert (split.test.targets.lengths == 1).all()
    assert split.figures["test_targets_untrained"] == len(split.test)


@pytest.mark.parametrize("name", ["strong-generalisation", "item-cold-start"])
def test_drawn_splits_depend_on_the_seed_alone(name):
    data = dataset(np.repeat(np.arange(40), 10).tolist(), items=(np.arange(400) * 7 % 60).tolist())

    def drawn(seed):
        return data.split(SplitConfig(name=name, seed=seed)).train.values.tolist()

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_weights_and_times_follow_their_events():
    frame = pl.DataFrame(
        {"user_id": [1, 1, 1, 2, 2, 2], "item_id": [1, 2, 3, 1, 2, 3], "timestamp": [3, 2, 1, 1, 2, 3], "rating": [1.0, 2, 3, 4, 5, 6]}
    )
    split = Dataset.from_frame(frame).split()
    assert split.test.histories.weights.tolist() == [3, 2, 4, 5]
    assert split.test.histories.times.tolist() == [1, 2, 1, 2]
    assert split.train.weights.tolist() == [3, 4]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "ratio", "validation_share": 0.5, "test_share": 0.5}, r"validation_share \+ test_share = 1 leaves nothing to train on"),
        ({"name": "leave-two-out"}, "setting `name` = 'leave-two-out'"),
        ({"test_share": 1.5}, "setting `test_share` = 1.5: input should be less than 1"),
    ],
)
def test_impossible_settings(config, message):
    with pytest.raises(ConfigError, match=message):
        dataset([1, 1, 1, 2, 2, 2]).split(SplitConfig.parse(config))


def test_logs_that_cannot_be_cut():
    with pytest.raises(DataError, match="`global-temporal` needs times and the log has none"):
        dataset([1, 1, 1, 2, 2, 2]).split(SplitConfig(name="global-temporal"))
    with pytest.raises(DataError, match="cannot cut: too many events share one time"):
        dataset([1, 1, 1, 2, 2, 2], times=[5] * 6).split(SplitConfig(name="global-temporal"))
    with pytest.raises(DataError, match="`leave-one-out` finds no test case in 3 users and 6 events"):
        dataset([1, 1, 2, 2, 3, 3]).split()
    with pytest.raises(DataError, match=r"events of one user only \(5\); at least 2 users are needed"):
        dataset([5, 5, 5]).split()


@settings(max_examples=40, deadline=None)
@given(logs(), st.sampled_from(PROTOCOLS), st.integers(0, 3))
def test_a_share_of_the_people_trains_and_the_cases_stay(data, name, seed):
    config = SplitConfig(name=name, seed=seed, validation_share=0.2, test_share=0.2)
    log = data.log()
    try:
        whole = split_log(log, config)
    except DataError:
        return
    everybody = whole.train.lengths > 0
    smaller = np.zeros(len(everybody), dtype=bool)
    for share in (0.01, 0.5, 1.0):
        split = split_log(log, config.override(train_share=share))
        drawn = split.train.lengths > 0
        assert drawn.sum() == min(everybody.sum(), max(1, round(share * everybody.sum())))
        assert (drawn[smaller]).all()  # a smaller share is part of a larger one
        assert np.array_equal(split.train.lengths[drawn], whole.train.lengths[drawn])
        for part in ("validation", "test"):
            cases, expected = getattr(split, part), getattr(whole, part)
            assert lists(cases.histories) == lists(expected.histories)
            assert lists(cases.targets) == lists(expected.targets)
            known = cases.users >= 0
            assert np.array_equal(cases.users[known], expected.users[known])
            assert drawn[cases.users[known]].all()
        assert (split.config.hash == config.hash) == (share == 1)
        smaller = drawn
