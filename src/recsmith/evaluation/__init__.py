"""The evaluator: accuracy and beyond-accuracy metrics of any system, from its answers, from arrays or from a stranger's table."""

from recsmith.evaluation.answers import evaluate_answer
from recsmith.evaluation.from_table import evaluate
from recsmith.evaluation.metrics import DEFAULT_CUTOFFS, evaluate_lists
from recsmith.evaluation.ranking import rank_scores
from recsmith.evaluation.recommendations import read_recommendations
from recsmith.evaluation.result import Evaluation
from recsmith.evaluation.tables import format_table

__all__ = [
    "DEFAULT_CUTOFFS",
    "Evaluation",
    "evaluate",
    "evaluate_answer",
    "evaluate_lists",
    "format_table",
    "rank_scores",
    "read_recommendations",
]
