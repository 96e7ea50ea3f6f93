"""The training loop: packed batches, one optimiser step after the other, validation, early stopping, checkpoints, resume."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from recsmith.data import Histories
from recsmith.errors import DataError
from recsmith.protocols import Progress, Validate
from recsmith.runtime import Runtime
from recsmith.seeding import derive_seed
from recsmith.training.batches import training_rows
from recsmith.training.config import TrainingConfig
from recsmith.training.interruption import Interruption
from recsmith.training.result import TrainingResult
from recsmith.training.run import Message, Run


def train(
    model: nn.Module,
    histories: Histories,
    config: TrainingConfig,
    *,
    validate: Validate | None = None,
    users: np.ndarray | None = None,
    checkpoint_folder: Path | None = None,
    progress: Progress | None = None,
    message: Message | None = None,
    seed: int | None = None,
    start_counts: bool = False,
    enters: np.ndarray | None = None,
) -> TrainingResult:
    """Train `model` (a `Differentiable`) on `histories` (row = user) and leave it with the best weights, in evaluation mode.

    `users` int64 `[row]` is handed to the model beside the rows; `enters` int64 `[event]` is the epoch, from 0, from which an event takes
    part (a curriculum). `validate` is called with the model in evaluation mode;
    its figure `config.validation_metric` chooses the best weights; without it the last weights stay. With a
    `checkpoint_folder` the training is saved there every `config.checkpoint_every` seconds, and a call with the same model,
    data, settings and seed continues from what stands there, to the same result. Ctrl-C ends after the current step: the
    checkpoint is written, the best weights are restored and the result says `interrupted`; a second Ctrl-C raises at once.
    With `start_counts` the weights that the model came with compete for the best.

    Raises `DataError` when there is nothing to train on, `ConfigError` for an unknown validation metric, `UserError` when the
    loss is no longer finite, `ArtifactError` for a checkpoint that is damaged or of another training, `StorageError` when a
    checkpoint cannot be written.
    """
    rows = training_rows(histories, max_history=config.max_history, long_histories=config.long_histories, users=users, enters=enters)
    if not len(rows):
        raise DataError("there are no training events: every history is empty; check the split and the filters of the data")
    runtime = Runtime.choose(config.device, config.precision)
    model.to(runtime.device)
    run = Run(
        model=model,
        rows=rows,
        config=config,
        runtime=runtime,
        seed=config.seed if seed is None else seed,
        validate=validate,
        folder=checkpoint_folder,
        progress=progress,
        message=message,
        start_counts=start_counts,
    )
    with _own_randomness(runtime.device, run.seed), Interruption() as interruption:
        run.resume()
        run.go(interruption)
    return run.finish()


def update(
    model: nn.Module,
    histories: Histories,
    config: TrainingConfig,
    *,
    epochs: int = 2,
    learning_rate_share: float = 0.3,
    **options: Any,
) -> TrainingResult:
    """Warm start: go on training a trained model on new (or all) histories, from the weights that it has.

    The same loop with few `epochs` and a constant, smaller learning rate (`learning_rate_share` of the configured one), so
    that new events are learned without forgetting the old ones; the optimiser starts afresh. `options` as for `train`.
    With `validate`, the weights before the first step count too: an update never leaves the model worse than it was.
    """
    warm = config.override(epochs=epochs, learning_rate=config.learning_rate * learning_rate_share, schedule="constant", warmup_steps=0)
    return train(model, histories, warm, start_counts=True, **options)


@contextmanager
def _own_randomness(device: torch.device, seed: int) -> Iterator[None]:
    """Seed torch's generators for the training, and give the caller's back after it."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(derive_seed(seed, "training"))
        yield
