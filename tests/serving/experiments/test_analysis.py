"""From rows of exposures and outcomes to a verdict, and the alarm that goes before it."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from recsmith.errors import DataError, UserError
from recsmith.serving.experiments import Experiment, ExperimentPlan, analyse, sample_ratio_test, unit_table

EXPERIMENT = Experiment.parse({"name": "ranker", "arms": [{"name": "old"}, {"name": "new"}, {"name": "odd", "weight": 2}]})


def logged(units: int, rates: dict[str, float], *, lost: float = 0.0, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Exposures and clicks of units that the plan assigns; `lost` of the new arm's units leave no trace."""
    random = np.random.default_rng(seed)
    plan = ExperimentPlan(experiments=(EXPERIMENT,))
    arms = [plan.assign(unit)["ranker"].arm or "" for unit in range(units)]
    kept = np.array([arm != "new" for arm in arms]) | (random.random(units) >= lost)
    shown = pl.DataFrame({"unit": np.arange(units), "experiment": "ranker", "arm": arms, "time": random.random(units) * 1_000}).filter(kept)
    clicks = random.random(units) < np.array([rates[arm] for arm in arms])
    outcomes = pl.DataFrame({"unit": np.flatnonzero(clicks), "metric": "click", "value": 1.0, "time": 2_000.0})
    return shown, outcomes


def test_a_unit_is_its_first_exposure_and_what_follows() -> None:
    exposures = pl.DataFrame(
        {
            "unit": ["u", "u", "v", "w", "w", "x"],
            "experiment": ["ranker"] * 5 + ["other"],
            "arm": ["old", "old", "new", "new", "old", "old"],
            "time": [10, 5, 7, 1, 2, 3],
        }
    )
    outcomes = pl.DataFrame(
        {
            "unit": ["u", "u", "u", "v", "w", "x"],
            "metric": ["click", "click", "buy", "click", "click", "click"],
            "value": [1.0, 1.0, 9.5, 1.0, 1.0, 1.0],
            "time": [4, 5, 30, 100, 8, 8],
        }
    )
    table = unit_table(EXPERIMENT, exposures, outcomes, metrics=["click", "buy"])
    assert table.frame.rows() == [("u", "old", 5, 2, 1.0, 9.5), ("v", "new", 7, 1, 1.0, 0.0)]
    assert table.crossed == 1
    assert table.counts(EXPERIMENT) == {"old": 1, "new": 1, "odd": 0}
    soon = unit_table(EXPERIMENT, exposures, outcomes, metrics=["click", "buy"], within=20)
    assert soon.frame.select("click", "buy").rows() == [(1.0, 0.0), (0.0, 0.0)]
    numbers = exposures.with_columns(unit=pl.Series([1, 1, 2, 3, 3, 4]))
    texts = outcomes.with_columns(unit=pl.Series(["1", "1", "1", "2", "3", "4"]))
    assert unit_table(EXPERIMENT, numbers, texts, metrics=["click"]).values("click", "old").tolist() == [1.0]


def test_the_better_arm_is_found_and_the_other_left_open() -> None:
    table = unit_table(EXPERIMENT, *logged(12_000, {"old": 0.2, "new": 0.28, "odd": 0.2}), metrics=["click"])
    result = analyse(EXPERIMENT, table, "click", planned=12_000)
    new, odd = result.arms
    assert (new.arm, new.verdict, odd.verdict) == ("new", "higher", "not yet")
    assert new.sequential.low <= 0.08 <= new.sequential.high
    assert new.fixed is not None
    assert new.fixed.p_value < new.sequential.p_value <= 0.05
    assert new.sequential.level == new.fixed.level == pytest.approx(0.975)
    assert not result.sample_ratio.alarm
    document = json.loads(json.dumps(result.document(), allow_nan=False))
    assert document["control"]["units"] + sum(arm["units"] for arm in document["arms"]) == 12_000
    assert document["sentences"][0].startswith("`new`: click is higher than with `old` by 0.0")
    assert "going on, and looking again, is safe" in document["sentences"][1]


def test_lost_units_raise_the_alarm_before_any_verdict() -> None:
    table = unit_table(EXPERIMENT, *logged(12_000, {"old": 0.2, "new": 0.28, "odd": 0.2}, lost=0.2), metrics=["click"])
    result = analyse(EXPERIMENT, table, "click", planned=12_000)
    assert [arm.verdict for arm in result.arms] == ["not to be trusted"] * 2
    assert "units go missing" in result.sentence(result.arms[0])


def test_a_later_look_keeps_what_an_earlier_one_found() -> None:
    shown, clicks = logged(9_000, {"old": 0.2, "new": 0.28, "odd": 0.2})
    first = analyse(EXPERIMENT, unit_table(EXPERIMENT, shown, clicks, metrics=["click"]), "click", planned=9_000)
    none = clicks.with_columns(value=pl.lit(0.0))
    later = analyse(EXPERIMENT, unit_table(EXPERIMENT, shown, none, metrics=["click"]), "click", planned=9_000, before=first)
    assert later.arms[0].sequential.p_value == first.arms[0].sequential.p_value
    assert later.arms[0].lift is None
    with pytest.raises(UserError, match="give one of the same experiment, metric, planned and alpha"):
        analyse(EXPERIMENT, unit_table(EXPERIMENT, shown, clicks, metrics=["click"]), "click", planned=8_000, before=first)


def test_without_exposures_nothing_is_known() -> None:
    shown, clicks = logged(10, {"old": 0.2, "new": 0.2, "odd": 0.2})
    result = analyse(EXPERIMENT, unit_table(EXPERIMENT, shown.clear(), clicks, metrics=["click"]), "click", planned=100)
    assert [(arm.units, arm.fixed, arm.verdict) for arm in result.arms] == [(0, None, "not yet")] * 2
    assert result.document()["arms"][0]["sequential"]["low"] is None


def test_mistakes() -> None:
    shown, clicks = logged(10, {"old": 0.2, "new": 0.2, "odd": 0.2})
    with pytest.raises(DataError, match="exposures lack `arm`; they have `unit`, `experiment`, `time`"):
        unit_table(EXPERIMENT, shown.drop("arm"), clicks, metrics=["click"])
    with pytest.raises(DataError, match="name an arm `nwe` that it does not have; did you mean `new`"):
        unit_table(EXPERIMENT, shown.with_columns(arm=pl.lit("nwe")), clicks, metrics=["click"])
    with pytest.raises(DataError, match="no outcome `clik` was asked for; did you mean `click`"):
        analyse(EXPERIMENT, unit_table(EXPERIMENT, shown, clicks, metrics=["click"]), "clik", planned=9)
    with pytest.raises(DataError, match="name each outcome once"):
        unit_table(EXPERIMENT, shown, clicks, metrics=["click", "click"])


# ---- sizes of arms ----------------------------------------------------------------------------------------------------


def test_sizes_at_every_look_keep_the_level() -> None:
    """Ever an alarm at .05 in 40 looks, with arms dealt as planned; and a chi-square at every look, beside it."""
    random = np.random.default_rng(3)
    shares = {"a": 0.7, "b": 0.3}
    sequential = one_look = 0
    for _ in range(100):
        taken = np.cumsum(random.random(3_000) < 0.3)[::75]
        tests = [sample_ratio_test({"a": 75 * look + 1 - int(b), "b": int(b)}, shares) for look, b in enumerate(taken)]
        sequential += min(test.sequential_p for test in tests) <= 0.05
        one_look += min(test.p_value for test in tests) <= 0.05
    assert sequential / 100 <= 0.05
    assert one_look / 100 > 0.15


def test_a_mismatch_is_found() -> None:
    test = sample_ratio_test({"a": 5_300, "b": 4_700}, {"a": 0.5, "b": 0.5})
    assert test.alarm
    assert test.p_value < 1e-6
    assert test.expected == {"a": 5_000, "b": 5_000}
    assert not sample_ratio_test({"a": 5_030, "b": 4_970}, {"a": 0.5, "b": 0.5}).alarm
    assert sample_ratio_test({"a": 0, "b": 0}, {"a": 0.5, "b": 0.5}).p_value == 1
    with pytest.raises(DataError, match="differ in `c`"):
        sample_ratio_test({"a": 1, "b": 1, "c": 1}, {"a": 0.5, "b": 0.5})
