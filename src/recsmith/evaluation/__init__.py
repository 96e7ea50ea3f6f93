"""The evaluator: accuracy and beyond-accuracy metrics of any system, from its answers, from arrays or from a stranger's table."""

from recsmith.evaluation.answers import evaluate_answer
from recsmith.evaluation.from_table import evaluate
from recsmith.evaluation.leaks import LeakCheck, leak_checks
from recsmith.evaluation.metrics import DEFAULT_CUTOFFS, evaluate_lists
from recsmith.evaluation.protocol import describe_protocol
from recsmith.evaluation.ranking import rank_scores
from recsmith.evaluation.recommendations import read_recommendations
from recsmith.evaluation.result import Evaluation
from recsmith.evaluation.significance import (
    Interval,
    PairedComparison,
    benjamini_hochberg,
    bootstrap_interval,
    compare_with_baseline,
    detectable_effect,
    effect_size,
    holm,
    permutation_test,
)
from recsmith.evaluation.tables import format_table

__all__ = [
    "DEFAULT_CUTOFFS",
    "Evaluation",
    "Interval",
    "LeakCheck",
    "PairedComparison",
    "benjamini_hochberg",
    "bootstrap_interval",
    "compare_with_baseline",
    "describe_protocol",
    "detectable_effect",
    "effect_size",
    "evaluate",
    "evaluate_answer",
    "evaluate_lists",
    "format_table",
    "holm",
    "leak_checks",
    "permutation_test",
    "rank_scores",
    "read_recommendations",
]
