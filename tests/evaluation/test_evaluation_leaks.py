"""Leaks, ties and twins: found where they are planted, absent where they are not; and the protocol in a result."""

from dataclasses import replace

import numpy as np
import pytest

from recsmith.data import Cases, Dataset, Histories, SplitConfig, popularity, split_log
from recsmith.evaluation import describe_protocol, evaluate, leak_checks
from recsmith.evaluation.leaks import twins
from recsmith.evaluation.protocol import FULL_RANKING, identified


def cut_log(users=30, *, name="leave-one-out", seed=0, **columns):
    random = np.random.default_rng(seed)
    rows = np.repeat(np.arange(users), 6)
    table = {"user_id": rows, "item_id": random.integers(0, 40, len(rows)), "timestamp": random.integers(0, 10**6, len(rows)), **columns}
    log = Dataset.from_frame(table).log()
    return log, split_log(log, SplitConfig(name=name))


def by_name(checks):
    return {check.name: check for check in checks}


def test_an_honest_split_passes():
    log, cut = cut_log()
    found = by_name(leak_checks(log, cut, popularity=popularity(cut.train, cut.items)))
    assert found["held-out events in training"].passed
    assert found["popularity from training"].passed
    assert found["the same person twice"].passed
    assert found["training events later than the targets"].value > 0  # leave-one-out always looks ahead
    assert [check.passed for check in found.values() if check.passed is False] == []
    assert found["held-out events in training"].as_dict()["value"] == 0


def test_a_test_event_left_in_training_is_found():
    log, cut = cut_log()
    leaked = replace(cut, train=cut.train.append(Histories(cut.test.targets.values, cut.test.targets.offsets)))
    check = by_name(leak_checks(log, leaked))["held-out events in training"]
    assert (check.value, check.passed) == (30, False)


def test_popularity_that_counts_the_test_is_found():
    log, cut = cut_log()
    check = by_name(leak_checks(log, cut, popularity=popularity(log.histories, cut.items)))["popularity from training"]
    assert (check.value, check.passed) == (60, False)
    assert "differs from the training events in 60 counts" in check.finding


def test_strangers_who_train_are_found():
    log, cut = cut_log(name="strong-generalisation")
    assert by_name(leak_checks(log, cut))["held-out people in training"].passed
    known = replace(cut, test=Cases(np.arange(len(cut.test)), cut.test.histories, cut.test.targets))
    assert by_name(leak_checks(log, known))["held-out people in training"].passed is False


def test_twins_are_people_with_the_very_same_history():
    rows = Histories.from_rows([[1, 2, 3, 4, 5], [1, 2, 3, 4, 5], [5, 4, 3, 2, 1], [1, 2, 3, 4, 6], [7, 7], [7, 7], []])
    assert twins(rows) == 2
    assert twins(rows, shortest=2) == 4
    assert twins(Histories.from_rows([[1], []])) == 0


def test_days_and_ties_are_reported():
    log, cut = cut_log(timestamp=np.tile(np.array([0, 1, 2, 3, 4, 4]) * 86_400, 30))
    found = by_name(leak_checks(log, cut))
    assert found["targets that depend on the tie rule"].value == 1
    assert "keep the order of the file" in found["targets that depend on the tie rule"].finding
    assert found["times without a time of day"].value == 1


def test_targets_that_cannot_be_hit_are_counted():
    data = Dataset.from_frame({"user_id": [0, 0, 0, 0, 1, 1, 1], "item_id": [1, 2, 3, 1, 1, 2, 9]})
    found = by_name(leak_checks(data.log(), data.split()))
    assert found["targets the person had before"].value == 0.5
    assert found["targets that nobody has in training"].value == 0.5


# ---- in results ------------------------------------------------------------------------------------------------------------


def test_a_table_s_result_carries_checks_and_hash():
    data = Dataset.from_frame({"user_id": np.repeat(np.arange(8), 4), "item_id": np.tile(np.arange(4), 8)})
    found = evaluate({"user_id": [0, 1], "item_id": [3, 2], "rank": [1, 1]}, data)
    assert found.protocol["hash"] == SplitConfig().hash
    assert found.protocol["ranking"] == FULL_RANKING
    document = found.as_dict()
    assert {"name", "finding", "value", "passed"} == set(document["checks"][0])
    assert len(document["checks"]) == len(found.checks) >= 5


def test_hashes_tell_protocols_apart_and_ignore_what_does_not_matter():
    plain = describe_protocol(SplitConfig(), tie_rule="x")
    assert plain["hash"] == describe_protocol(SplitConfig(seed=5))["hash"] == identified(SplitConfig().model_dump())["hash"]
    assert plain["hash"] != describe_protocol(SplitConfig(), ranking="sampled: 100")["hash"]
    assert identified({}) == {}
    other = identified({"name": "somebody's own", "version": 3})
    assert other["hash"] != identified({"name": "somebody's own", "version": 4})["hash"]
    assert identified(other) == other


@pytest.mark.parametrize("name", ["ratio", "global-temporal", "item-cold-start", "user-cold-start", "next-basket", "session-prefixes"])
def test_every_protocol_passes_its_own_checks(name):
    log, cut = cut_log(60, name=name, timestamp=np.random.default_rng(1).integers(0, 10_000, 360))
    assert not [check.name for check in leak_checks(log, cut) if check.passed is False]
