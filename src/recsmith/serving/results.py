"""The result of an experiment, from the store alone: the server and `recsmith experiment` say the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from recsmith.errors import UserError, suggestion
from recsmith.serving.changes import HOUR
from recsmith.serving.experiment_store import answered_lists, events_of_lists, experiment, experiments, exposures, holdout, outcomes
from recsmith.serving.experiments.analysis import analyse
from recsmith.serving.experiments.assignment import Experiment
from recsmith.serving.experiments.definition import HOLDOUT, Definition, Outcome, holdout_experiment
from recsmith.serving.experiments.interleaving import Interleaved, Preference, credit, interleaving_test
from recsmith.serving.experiments.tables import UnitTable, unit_table
from recsmith.serving.store import Store

MOST_LISTS = 1_000_000
"""Lists of an interleaving experiment that are looked at, the latest ones."""


def result(store: Store, name: str, *, metric: str | None = None) -> dict[str, Any]:
    """What can be said about an experiment, or about the holdout, by now; `metric`: another kind of event than the experiment's own.

    Raises `UserError` for a name that nobody used.
    """
    if name == HOLDOUT:
        return _holdout(store, metric)
    kept = experiment(store, name)
    if kept is None:
        raise UserError(_unknown(store, name))
    definition = kept.definition if metric is None else kept.definition.override(metric=metric)
    if definition.kind == "interleaving":
        return _preference(store, definition, since=kept.created)
    return _comparison(store, definition, definition.experiment())


def _unknown(store: Store, name: str) -> str:
    names = [kept.definition.name for kept in experiments(store)]
    return f"there is no experiment `{name}`; {suggestion(name, names) if names else 'there was none so far'}"


def _holdout(store: Store, metric: str | None) -> dict[str, Any]:
    share = holdout(store)
    if not share:
        raise UserError("nobody is held out; set `holdout` in the experiments file")
    defaults = Definition.parse({"name": "all experiments", "arms": [{"name": "a"}, {"name": "b"}], "metric": metric or "click"})
    return _comparison(store, defaults, holdout_experiment(share))


def _comparison(store: Store, definition: Definition, design: Experiment) -> dict[str, Any]:
    within = HOUR * definition.within_hours
    shown = exposures(store, design.name)
    happened = outcomes(store, design.name, definition.metric, within=within)
    table = _per_person(definition.outcome, design, shown, happened, within=within)
    found = analyse(design, table, _COLUMN, planned=definition.planned, alpha=definition.alpha, least_units=definition.least_units)
    found = replace(found, metric=definition.metric)
    return {
        "kind": "arms",
        "outcome": definition.outcome,
        "lists": sum(row["lists"] for row in shown),
        **found.document(),
        "preference": None,
    }


def _per_person(
    outcome: Outcome, design: Experiment, shown: list[dict[str, Any]], happened: list[dict[str, Any]], *, within: float
) -> UnitTable:
    exposure = pl.DataFrame(
        {
            "unit": [row["unit"] for row in shown],
            "experiment": [design.name] * len(shown),
            "arm": [row["arm"] for row in shown],
            "time": [row["first"] for row in shown],
        },
        schema={"unit": pl.String, "experiment": pl.String, "arm": pl.String, "time": pl.Float64},
    )
    values = [row["value"] if outcome == "sum" else 1.0 for row in happened]
    events = pl.DataFrame(
        {
            "unit": [row["unit"] for row in happened],
            "metric": [_COLUMN] * len(happened),
            "value": values,
            "time": [row["time"] for row in happened],
        },
        schema={"unit": pl.String, "metric": pl.String, "value": pl.Float64, "time": pl.Float64},
    )
    table = unit_table(design, exposure, events, metrics=[_COLUMN], within=within)
    return replace(table, frame=table.frame.with_columns(pl.col(_COLUMN).clip(upper_bound=1.0))) if outcome == "any" else table


_COLUMN = "outcome"
"""Name of the column, whatever the kind of event is called."""


def _preference(store: Store, definition: Definition, *, since: float) -> dict[str, Any]:
    names = [arm.name for arm in definition.arms]
    lists = [row for row in answered_lists(store, "teams", since=since, most=MOST_LISTS) if definition.name in row["experiment"]["arms"]]
    credits = _credits(store, definition, lists, names)
    units = np.array([row["user_id"] for row in lists], dtype=object).astype(str)
    found = interleaving_test(credits[:, 0], credits[:, 1], units=units, alpha=definition.alpha)
    return {
        "kind": "interleaving",
        "experiment": definition.name,
        "metric": definition.metric,
        "outcome": definition.outcome,
        "lists": len(lists),
        "control": None,
        "arms": [],
        "sample_ratio": None,
        "crossed": 0,
        "alpha": definition.alpha,
        "planned": definition.planned,
        "sentences": [_sentence(found, names)],
        "preference": {
            "units": found.units,
            "wins": dict(zip(names, found.wins, strict=True)),
            "share": found.share,
            "low": found.low,
            "high": found.high,
            "p_value": found.p_value,
            "sequential_p": found.sequential_p,
            "winner": None if found.winner == "not yet" else names[("first", "second").index(found.winner)],
        },
    }


def _credits(store: Store, definition: Definition, lists: Sequence[dict[str, Any]], names: Sequence[str]) -> np.ndarray:
    """Clicked items of each arm, float64 `[list, 2]`."""
    clicked: dict[str, set[str]] = {}
    within = HOUR * definition.within_hours
    times = {row["list_id"]: row["time"] for row in lists}
    for event in events_of_lists(store, list(times), [definition.metric]):
        if event["time"] < times[event["list_id"]] + within:
            clicked.setdefault(event["list_id"], set()).add(event["item_id"])
    found = np.zeros((len(lists), 2))
    for place, row in enumerate(lists):
        items = clicked.get(row["list_id"])
        if items:
            teams = np.array([names.index(team) for team in row["experiment"]["teams"]], dtype=np.int64)
            shown = Interleaved(np.arange(len(teams)), teams)
            found[place] = credit(shown, [position for position, item in enumerate(row["items"]) if item in items])
    return found


def _sentence(found: Preference, names: Sequence[str]) -> str:
    if found.winner == "not yet":
        return f"no preference between `{names[0]}` and `{names[1]}` shown yet; going on, and looking again, is safe"
    winner = ("first", "second").index(found.winner)
    share = found.share if winner else 1 - found.share
    better, worse = names[winner], names[1 - winner]
    return f"`{better}` is preferred to `{worse}` by {share:.1%} of those who choose (at any time p = {found.sequential_p:.2g})"
