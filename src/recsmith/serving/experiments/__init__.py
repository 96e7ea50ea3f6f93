"""Experiments as plain values: who sees what, what came of it, and what may be concluded. Knows neither HTTP nor SQL.

Names are looked up when they are asked for: a server without experiments starts without scipy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recsmith.serving.experiments.analysis import ArmResult, Result, analyse
    from recsmith.serving.experiments.assignment import Arm, Assignment, Experiment, ExperimentPlan
    from recsmith.serving.experiments.definition import Definition, ServedArm
    from recsmith.serving.experiments.exploration import Exploration, Explored, explore, first_place, propensities
    from recsmith.serving.experiments.fixed_horizon import Difference, fixed_horizon_test, units_needed
    from recsmith.serving.experiments.interleaving import Interleaved, Preference, credit, interleaving_test, lists_needed, team_draft
    from recsmith.serving.experiments.off_policy import Estimate, LoggedActions, doubly_robust, ips, snips
    from recsmith.serving.experiments.sample_ratio import SampleRatio, sample_ratio_test
    from recsmith.serving.experiments.sequential import carried, sequential_test
    from recsmith.serving.experiments.summaries import Moments, moments, ratio_moments
    from recsmith.serving.experiments.tables import EXPOSURE_COLUMNS, OUTCOME_COLUMNS, UnitTable, unit_table

__all__ = [
    "EXPOSURE_COLUMNS",
    "OUTCOME_COLUMNS",
    "Arm",
    "ArmResult",
    "Assignment",
    "Definition",
    "Difference",
    "Estimate",
    "Experiment",
    "ExperimentPlan",
    "Exploration",
    "Explored",
    "Interleaved",
    "LoggedActions",
    "Moments",
    "Preference",
    "Result",
    "SampleRatio",
    "ServedArm",
    "UnitTable",
    "analyse",
    "carried",
    "credit",
    "doubly_robust",
    "explore",
    "first_place",
    "fixed_horizon_test",
    "interleaving_test",
    "ips",
    "lists_needed",
    "moments",
    "propensities",
    "ratio_moments",
    "sample_ratio_test",
    "sequential_test",
    "snips",
    "team_draft",
    "unit_table",
    "units_needed",
]

_HOMES = {
    "analysis": ("ArmResult", "Result", "analyse"),
    "assignment": ("Arm", "Assignment", "Experiment", "ExperimentPlan"),
    "definition": ("Definition", "ServedArm"),
    "exploration": ("Exploration", "Explored", "explore", "first_place", "propensities"),
    "fixed_horizon": ("Difference", "fixed_horizon_test", "units_needed"),
    "interleaving": ("Interleaved", "Preference", "credit", "interleaving_test", "lists_needed", "team_draft"),
    "summaries": ("Moments", "moments", "ratio_moments"),
    "off_policy": ("Estimate", "LoggedActions", "doubly_robust", "ips", "snips"),
    "sample_ratio": ("SampleRatio", "sample_ratio_test"),
    "sequential": ("carried", "sequential_test"),
    "tables": ("EXPOSURE_COLUMNS", "OUTCOME_COLUMNS", "UnitTable", "unit_table"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
