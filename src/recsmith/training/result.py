"""What a training leaves behind besides the weights: its curve, its best point and why it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

StopReason = Literal["epochs", "patience", "minutes", "interrupted"]


@dataclass(frozen=True)
class CurveRow:
    """One point of the loss curve."""

    epoch: float
    """Passes over the training rows so far."""
    step: int
    """Optimiser steps so far."""
    loss: float
    """Mean training loss since the previous point."""
    seconds: float
    """Seconds of training and validation so far, interruptions not counted."""
    metrics: Mapping[str, float]
    """Validation metrics at this point; empty without validation."""


@dataclass(frozen=True)
class TrainingResult:
    """The course of a training. The model itself holds the best weights."""

    curve: tuple[CurveRow, ...]
    steps: int
    """Optimiser steps done."""
    batch_size: int
    """Rows per step: the configured number, or fewer on a small log."""
    best_epoch: float | None
    """Where the best validation figure stood, in epochs; None without validation."""
    best_metrics: Mapping[str, float]
    """All validation metrics at that point."""
    metric: str
    """Name of the figure that chose."""
    seconds: float
    """Seconds of training and validation, all parts of a resumed training together."""
    stopped_because: StopReason
    resumed: bool
    """Whether a checkpoint was continued."""

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended it."""
        return self.stopped_because == "interrupted"

    @property
    def best_metric(self) -> float | None:
        """The best validation figure; None without validation."""
        return self.best_metrics.get(self.metric)

    def rows(self) -> list[dict[str, Any]]:
        """The curve as flat rows, ready for a table: epoch, step, loss, seconds and one column per metric."""
        return [{"epoch": row.epoch, "step": row.step, "loss": row.loss, "seconds": row.seconds, **row.metrics} for row in self.curve]
