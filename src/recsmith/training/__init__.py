"""Training by gradient: one loop for every model, its settings, its batches and its account of what happened."""

from recsmith.training.batches import TrainingRows, batches, row_batches, to_batch, training_rows
from recsmith.training.config import TrainingConfig
from recsmith.training.loop import train, update
from recsmith.training.negatives import NegativesConfig, learner_of
from recsmith.training.result import CurveRow, TrainingResult
from recsmith.training.run import Message
from recsmith.training.start import StartConfig, start_items

__all__ = [
    "CurveRow",
    "Message",
    "NegativesConfig",
    "StartConfig",
    "TrainingConfig",
    "TrainingResult",
    "TrainingRows",
    "batches",
    "learner_of",
    "row_batches",
    "start_items",
    "to_batch",
    "train",
    "training_rows",
    "update",
]
