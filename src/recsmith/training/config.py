"""`TrainingConfig`: how a model that learns by gradient is trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from recsmith.config import Config
from recsmith.runtime import Device, Precision


class TrainingConfig(Config):
    """Settings of the training loop."""

    epochs: int = Field(50, ge=1)
    """Passes over the training histories, at most."""
    batch_size: int = Field(256, ge=1)
    """Training rows per optimiser step, at most."""
    least_batches: int = Field(1, ge=1)
    """Batches an epoch is cut into at least: a small log gets batches smaller than `batch_size` for it, down to 32 rows."""
    learning_rate: float = Field(1e-3, gt=0)
    """Step size of the optimiser after warm-up."""
    weight_decay: float = Field(0.0, ge=0)
    """Shrinkage of weight matrices per unit of learning rate (adamw), or L2 penalty (adam); vectors and biases are spared."""
    warmup_steps: int = Field(0, ge=0)
    """Optimiser steps during which the learning rate rises from 0."""
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    """Course of the learning rate after warm-up; cosine and linear end near 0 after `epochs`."""
    gradient_clip: float | None = Field(5.0, gt=0)
    """Greatest L2 norm of the gradient; none leaves it alone."""
    optimizer: Literal["adamw", "adam"] = "adamw"
    """adamw decays weights apart from the gradient; adam adds the decay to the gradient."""
    precision: Precision = "auto"
    """Type of large products: fp32, bf16, or bf16 where the device gains by it."""
    device: Device = "auto"
    """Where to train: cpu, cuda, or cuda where there is one."""
    validation_metric: str = "NDCG@10"
    """The validation figure that chooses the best weights; higher is better."""
    validate_every: float = Field(1.0, gt=0)
    """Epochs between validations; .5 validates twice an epoch."""
    patience: int | None = Field(5, ge=1)
    """Validations without a gain after which training stops; none never stops early."""
    least_steps: int = Field(200, ge=0)
    """Optimiser steps before which patience does not end the training; on a small log an epoch is a handful of them."""
    max_history: int = Field(50, ge=1)
    """Events per training row that serve as input; the one after them is the last target."""
    long_histories: Literal["windows", "last"] = "windows"
    """Histories longer than `max_history`: cut into windows so that every event trains, or keep the last events only."""
    minutes: float | None = Field(None, gt=0)
    """Wall-clock budget in minutes; the best weights so far are kept when it ends."""
    checkpoint_every: float = Field(60.0, ge=0)
    """Seconds between checkpoints."""
    seed: int = 0
    """Seed of the order of histories and of everything the model draws while it trains."""
