"""Who sees what: uniform, the same for ever, and moving nobody who need not move."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from recsmith.errors import ConfigError, UserError
from recsmith.serving.experiments import Arm, Experiment, ExperimentPlan
from recsmith.serving.experiments.assignment import choose_arm, point

UNITS = 6_000


def experiment(*weights: float, **settings: object) -> Experiment:
    arms = [{"name": chr(ord("a") + place), "weight": weight} for place, weight in enumerate(weights)]
    return Experiment.parse({"name": "ranker", "arms": arms, **settings})


def arms_of(plan: ExperimentPlan, name: str, units: range) -> list[str | None]:
    return [plan.assign(unit)[name].arm for unit in units]


def test_points_are_uniform() -> None:
    assert kstest([point("salt", unit) for unit in range(UNITS)], "uniform").pvalue > 0.01
    assert point("a", "bc") != point("ab", "c")
    assert point("salt", 7) == point("salt", "7")


def test_golden_assignments() -> None:
    """These must never change: people would see another arm after an upgrade."""
    assert point("recsmith", "holdout", "u1") == pytest.approx(GOLDEN_POINT, abs=0)
    plan = ExperimentPlan(experiments=(experiment(1, 1, 2), experiment(1, 1, name="cover", layer="page", share=0.5)), holdout=0.1)
    found = "".join((plan.assign(unit)[name].arm or "-") for name in ("ranker", "cover") for unit in range(24))
    assert found == GOLDEN_ARMS


@pytest.mark.parametrize("weights", [(1, 1), (0.9, 0.1), (1, 1, 1, 5)])
def test_arms_get_their_shares(weights: tuple[float, ...]) -> None:
    one = experiment(*weights)
    names = list(one.shares())
    found = [choose_arm(one, unit) for unit in range(UNITS)]
    counts = [found.count(name) for name in names]
    assert chisquare(counts, [UNITS * share for share in one.shares().values()]).pvalue > 0.001


def test_experiments_and_salts_are_independent() -> None:
    first, second = experiment(1, 1), experiment(1, 1, name="cover")
    again = experiment(1, 1, salt="2")
    deal = {name: np.array([choose_arm(one, unit) == "a" for unit in range(UNITS)]) for name, one in
            (("first", first), ("second", second), ("again", again))}  # fmt: skip
    for name in ("second", "again"):
        assert abs(np.corrcoef(deal["first"], deal[name])[0, 1]) < 4 / UNITS**0.5


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.05, 20), min_size=2, max_size=5), st.integers(0, 4), st.floats(1, 10))
def test_only_units_that_must_move_do(weights: list[float], grown: int, factor: float) -> None:
    grown %= len(weights)
    before, more = experiment(*weights), experiment(*weights, 1.0)
    weights[grown] *= factor
    after = experiment(*weights)
    growing, newcomer = after.arms[grown].name, more.arms[-1].name
    for unit in range(150):
        old = choose_arm(before, unit)
        assert choose_arm(after, unit) in (old, growing)
        assert choose_arm(more, unit) in (old, newcomer)


def test_layers_exclude_and_holdout_holds() -> None:
    plan = ExperimentPlan(
        experiments=(
            experiment(1, 1, share=0.4),
            experiment(1, 1, name="later", start=0.4, share=0.6),
            experiment(1, 1, name="page", layer="page"),
        ),
        holdout=0.2,
    )
    found = [plan.assign(unit) for unit in range(UNITS)]
    held = [unit for unit in range(UNITS) if plan.held_out(unit)]
    assert len(held) / UNITS == pytest.approx(0.2, abs=0.02)
    for unit, own in enumerate(found):
        taking = {name for name, assignment in own.items() if assignment.arm is not None}
        assert taking == (set() if plan.held_out(unit) else {"page", *(taking & {"ranker", "later"})})
        assert len(taking & {"ranker", "later"}) == (0 if plan.held_out(unit) else 1)
    assert found[held[0]]["page"].reason == "holdout"
    share = np.mean([own["ranker"].arm is not None for own in found])
    assert share == pytest.approx(0.8 * 0.4, abs=0.02)
    outside = next(own["ranker"] for own in found if own["later"].arm is not None)
    assert (outside.arm, outside.reason) == (None, "outside")


def test_a_new_experiment_in_free_room_moves_nobody() -> None:
    one = experiment(1, 1, share=0.5)
    plan = ExperimentPlan(experiments=(one,))
    later = ExperimentPlan(experiments=(experiment(3, 1, name="later", start=0.5, share=0.5), one))
    assert arms_of(plan, "ranker", range(500)) == arms_of(later, "ranker", range(500))


def test_mistakes() -> None:
    with pytest.raises(ConfigError, match="arm `a` of experiment `ranker` is there twice"):
        Experiment.parse({"name": "ranker", "arms": [{"name": "a"}, {"name": "a"}]})
    with pytest.raises(ConfigError, match=r"ends at 1\.2 of its layer"):
        experiment(1, 1, start=0.7, share=0.5)
    with pytest.raises(ConfigError, match=r"weight.*greater than 0"):
        experiment(1, 0)
    with pytest.raises(ConfigError, match=r"`ranker` and `later` overlap in layer `main` from 0\.4 to 0\.5"):
        ExperimentPlan.parse({"experiments": [experiment(1, 1, share=0.5), experiment(1, 1, name="later", start=0.4, share=0.6)]})
    with pytest.raises(ConfigError, match="experiment `ranker` is there twice"):
        ExperimentPlan.parse({"experiments": [experiment(1, 1), experiment(1, 1, layer="page")]})
    with pytest.raises(UserError, match="no experiment `rankr`; did you mean `ranker`"):
        ExperimentPlan(experiments=(experiment(1, 1),)).experiment("rankr")
    with pytest.raises(UserError, match="no arm `z`; allowed: `a`, `b`"):
        experiment(1, 1).arm("z")


def test_settings_of_an_arm_are_kept() -> None:
    assert Arm(name="new", settings={"model": "runs/tiger"}).settings == {"model": "runs/tiger"}
    assert experiment(1, 3).shares() == {"a": 0.25, "b": 0.75}
    assert experiment(1, 3).control == "a"


GOLDEN_POINT = 0.6435412714770188
GOLDEN_ARMS = "cc-aaccabc-ac-bcacbbacaa-b----aa-b-ba-----a--bb-"
