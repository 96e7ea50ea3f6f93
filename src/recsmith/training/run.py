"""One training in motion: the parts that stay, the state that moves from step to step, and how it is saved."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from recsmith.errors import ConfigError, UserError, suggestion
from recsmith.protocols import Differentiable, HistoryBatch, Progress, Validate
from recsmith.runtime import Runtime
from recsmith.training.batches import TrainingRows, batch_size_for, batches, steps_per_epoch
from recsmith.training.checkpoint import (
    Checkpoint,
    optimizer_tensors,
    random_tensors,
    read_checkpoint,
    restore_optimizer,
    restore_random,
    weights_of,
    write_checkpoint,
)
from recsmith.training.config import TrainingConfig
from recsmith.training.interruption import Interruption
from recsmith.training.optimizer import learning_rate_factor, make_optimizer
from recsmith.training.result import CurveRow, StopReason, TrainingResult

Message = Callable[[str], None]
"""Called with one line of text whenever there is something to say."""

_FREE_SETTINGS = {"minutes", "checkpoint_every"}  # may change between a kill and the resume: they do not alter the course


@dataclass
class State:
    """What changes from step to step; all of it goes into a checkpoint."""

    step: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    loss_count: int = 0
    best_step: int | None = None
    best_metrics: dict[str, float] = field(default_factory=dict)
    validations_without_gain: int = 0
    curve: list[dict[str, Any]] = field(default_factory=list)
    stopped: StopReason | None = None


@dataclass(kw_only=True)
class Run:
    """One training."""

    model: nn.Module
    rows: TrainingRows
    config: TrainingConfig
    runtime: Runtime
    seed: int
    validate: Validate | None = None
    folder: Path | None = None
    progress: Progress | None = None
    message: Message | None = None
    start_counts: bool = False
    """Whether the weights before the first step compete for the best."""

    def __post_init__(self) -> None:
        self.optimizer = make_optimizer(self.model, self.config)
        self.batch_size = batch_size_for(self.rows, batch_size=self.config.batch_size, least_batches=self.config.least_batches)
        self.steps_per_epoch = steps_per_epoch(self.rows, self.batch_size)
        self.total = self.steps_per_epoch * self.config.epochs
        self.validation_steps = max(1, round(self.config.validate_every * self.steps_per_epoch))
        self.state = State()
        self.best: dict[str, Tensor] = {}
        self.resumed = False
        self.saved_at = self.started_at = time.monotonic()

    # ---- the course ----

    def go(self, interruption: Interruption) -> None:
        """Step until something ends the training."""
        state = self.state
        if self.start_counts and state.step == 0 and self.validate is not None:
            self._keep_if_best(self._validation())
        self.model.train()
        while state.stopped is None:
            epoch, first = divmod(state.step, self.steps_per_epoch)
            for batch in self._batches(epoch, first):
                self._step(batch)
                self._after_step(interrupted=interruption.requested)
                if state.stopped is not None:
                    break

    def _batches(self, epoch: int, first: int) -> Iterator[HistoryBatch]:
        return batches(
            self.rows,
            batch_size=self.batch_size,
            seed=self.seed,
            epoch=epoch,
            first=first,
            device=self.runtime.device,
        )

    def _step(self, batch: HistoryBatch) -> None:
        config, state = self.config, self.state
        factor = learning_rate_factor(state.step, total=self.total, warmup=config.warmup_steps, schedule=config.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * factor
        device, dtype = self.runtime.device.type, self.runtime.compute_dtype
        with torch.autocast(device, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = cast(Differentiable, self.model).loss(batch, state.step)
        value = loss.item()
        if not math.isfinite(value):
            raise UserError(
                f"the training loss became {value} at step {state.step} (epoch {self._epoch():.2f}) with "
                f"`learning_rate` = {config.learning_rate}; use a smaller one, or a smaller `gradient_clip`"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if config.gradient_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.gradient_clip)
        self.optimizer.step()
        state.step += 1
        state.loss_sum += value
        state.loss_count += 1

    def _after_step(self, *, interrupted: bool) -> None:
        """Everything that happens between two steps, each part only when it is due."""
        state, config = self.state, self.config
        if self.progress is not None:
            self.progress("training", state.step, self.total)
        finished = state.step >= self.total
        out_of_time = config.minutes is not None and self._seconds() > 60 * config.minutes
        if interrupted:
            state.stopped = "interrupted"
        elif finished or out_of_time or state.step % self.validation_steps == 0:
            self._record_point()
        if state.stopped is None and finished:
            state.stopped = "epochs"
        elif state.stopped is None and out_of_time:
            state.stopped = "minutes"
        if state.stopped is not None or time.monotonic() - self.saved_at >= config.checkpoint_every:
            self.save()

    def _record_point(self) -> None:
        """Validate, note a point of the curve, stop when patience is over."""
        state = self.state
        metrics = self._validation()
        gained = self._keep_if_best(metrics)
        loss = state.loss_sum / max(state.loss_count, 1)
        state.loss_sum, state.loss_count = 0.0, 0
        state.curve.append(asdict(CurveRow(self._epoch(), state.step, loss, self._seconds(), metrics)))
        if self._is_out_of_patience():
            state.stopped = "patience"
        self._say_point(loss, metrics, gained)

    def _is_out_of_patience(self) -> bool:
        config, state = self.config, self.state
        if config.patience is None or state.step < config.least_steps:
            return False
        return state.validations_without_gain >= config.patience

    def _keep_if_best(self, metrics: dict[str, float]) -> bool:
        """Copy the weights if they gave the best validation figure so far."""
        state, metric = self.state, self.config.validation_metric
        if not metrics:
            return False
        if metrics[metric] <= state.best_metrics.get(metric, -math.inf):
            state.validations_without_gain += 1
            return False
        self.best = weights_of(self.model)
        state.best_step, state.best_metrics, state.validations_without_gain = state.step, metrics, 0
        return True

    def _validation(self) -> dict[str, float]:
        if self.validate is None:
            return {}
        self.model.eval()
        with torch.no_grad():
            metrics = dict(self.validate())
        self.model.train()
        metric = self.config.validation_metric
        if metric not in metrics:
            raise ConfigError(
                f"setting `validation_metric` = {metric!r} is not among the validation figures; {suggestion(metric, metrics)}"
            )
        return metrics

    def _say_point(self, loss: float, metrics: dict[str, float], gained: bool) -> None:
        if self.message is None:
            return
        metric = self.config.validation_metric
        figure = f", {metric} {metrics[metric]:.4f}{' (best)' if gained else ''}" if metrics else ""
        self.message(f"epoch {self._epoch():.4g} of {self.config.epochs}: loss {loss:.4f}{figure}, {self._seconds():.0f} s")

    # ---- start and end ----

    def resume(self) -> None:
        """Continue from the checkpoint of the folder, where there is one."""
        if self.folder is None:
            return
        checkpoint = read_checkpoint(self.folder, identity=self._identity())
        if checkpoint is None:
            return
        self.model.load_state_dict(checkpoint.part("model"))
        restore_optimizer(self.optimizer, checkpoint.part("optimizer"))
        restore_random(checkpoint.part("random"), self.runtime.device)
        self.best = checkpoint.part("best")
        self.state = State(**checkpoint.state)
        if self.state.stopped in ("interrupted", "minutes"):
            self.state.stopped = None
        self.started_at = time.monotonic()
        self.resumed = True
        if self.message is not None:
            self.message(f"continuing from the checkpoint at epoch {self._epoch():.4g} of {self.config.epochs}")

    def save(self) -> None:
        """Write the checkpoint, when there is a folder for it."""
        if self.folder is None:
            return
        self.saved_at = time.monotonic()
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        tensors |= optimizer_tensors(self.optimizer) | random_tensors(self.runtime.device)
        state = {**asdict(self.state), "seconds": self._seconds()}
        write_checkpoint(self.folder, Checkpoint(tensors, state, self._identity()))

    def finish(self) -> TrainingResult:
        """The best weights back into the model, and the account of the training."""
        state = self.state
        if self.best:
            self.model.load_state_dict(self.best)
        self.model.eval()
        assert state.stopped is not None
        return TrainingResult(
            curve=tuple(CurveRow(**row) for row in state.curve),
            steps=state.step,
            batch_size=self.batch_size,
            best_epoch=None if state.best_step is None else state.best_step / self.steps_per_epoch,
            best_metrics=dict(state.best_metrics),
            metric=self.config.validation_metric,
            seconds=self._seconds(),
            stopped_because=state.stopped,
            resumed=self.resumed,
        )

    def _epoch(self) -> float:
        return self.state.step / self.steps_per_epoch

    def _seconds(self) -> float:
        return self.state.seconds + time.monotonic() - self.started_at

    def _identity(self) -> dict[str, str]:
        model = self.model
        own = getattr(model, "config", None)
        shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
        data = hashlib.sha256(self.rows.histories.values.tobytes() + self.rows.histories.offsets.tobytes())
        if self.rows.enters is not None:
            data.update(self.rows.enters.tobytes())
        return {
            "model": f"{type(model).__name__} {own.model_dump_json() if own is not None else ''} {json.dumps(shapes)}",
            "settings": self.config.model_dump_json(exclude=_FREE_SETTINGS),
            "data": data.hexdigest(),
            "seed": str(self.seed),
        }
