"""Experiments as plain values: who sees what, what came of it, and what may be concluded. Knows neither HTTP nor SQL."""

from recsmith.serving.experiments.analysis import ArmResult, Result, analyse
from recsmith.serving.experiments.assignment import Arm, Assignment, Experiment, ExperimentPlan
from recsmith.serving.experiments.exploration import Exploration, Explored, explore, propensities
from recsmith.serving.experiments.fixed_horizon import Difference, fixed_horizon_test, units_needed
from recsmith.serving.experiments.interleaving import Interleaved, Preference, credit, interleaving_test, lists_needed, team_draft
from recsmith.serving.experiments.moments import Moments, moments, ratio_moments
from recsmith.serving.experiments.off_policy import Estimate, LoggedActions, doubly_robust, ips, snips
from recsmith.serving.experiments.sample_ratio import SampleRatio, sample_ratio_test
from recsmith.serving.experiments.sequential import carried, sequential_test
from recsmith.serving.experiments.tables import EXPOSURE_COLUMNS, OUTCOME_COLUMNS, UnitTable, unit_table

__all__ = [
    "EXPOSURE_COLUMNS",
    "OUTCOME_COLUMNS",
    "Arm",
    "ArmResult",
    "Assignment",
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
    "UnitTable",
    "analyse",
    "carried",
    "credit",
    "doubly_robust",
    "explore",
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
