"""`train_cross_encoder`: teach a transformers folder to read query and item together, from choices or from ratings."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from recsmith.config import Config
from recsmith.encoders import checked_texts
from recsmith.errors import DataError, UserError, import_extra
from recsmith.protocols import Progress
from recsmith.retrieval.cross_encoder import CrossEncoder
from recsmith.runtime import Precision, Runtime
from recsmith.seeding import derive_seed, generator


class CrossEncoderTraining(Config):
    """Settings of the training."""

    target: Literal["relevance", "rating"] = "relevance"
    """relevance: one output, targets 0 or 1; rating: a class per rating, targets 1 … n, answered as the rating that is expected."""
    epochs: int = Field(2, ge=1)
    """Passes over the pairs."""
    batch_size: int = Field(32, ge=1)
    """Pairs per optimiser step."""
    learning_rate: float = Field(3e-5, gt=0)
    """Step size of AdamW; falls to 0 along the training."""
    max_tokens: int = Field(256, ge=8)
    """Tokens read of a pair."""
    precision: Precision = "auto"
    """Number type of large products."""
    seed: int = 0
    """Seed of the order of pairs, of a new head and of dropout."""


def train_cross_encoder(
    folder: str | Path,
    pairs: Sequence[tuple[str, str]],
    targets: Sequence[float] | np.ndarray,
    *,
    out: str | Path,
    config: CrossEncoderTraining | None = None,
    progress: Progress | None = None,
) -> CrossEncoder:
    """Fine-tune the model in `folder` (an encoder with or without a head) on `pairs` (query, item text), write it to `out`, and return it.

    `targets` `[pair]` are 0 and 1, or whole ratings from 1 (then the head has as many outputs as the highest rating). The same call gives
    the same weights. Raises `DataError` for targets that do not fit and `UserError` when `out` exists or `folder` is not one.
    """
    config = config or CrossEncoderTraining()
    folder, out = Path(folder), Path(out)
    wanted = _checked_targets(targets, len(pairs), config.target)
    if out.exists():
        raise UserError(f"`{out}` exists already; give another folder for the trained cross-encoder")
    if not (folder / "config.json").exists():
        raise UserError(f"`{folder}` is no transformers folder: it has no config.json; give the folder that save_pretrained wrote")
    library = import_extra("transformers", extra="text", purpose="training a cross-encoder")
    outputs = int(wanted.max()) if config.target == "rating" else 1
    runtime = Runtime.choose(precision=config.precision)
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(derive_seed(config.seed, "cross-encoder"))
        local = {"local_files_only": True, "trust_remote_code": False}
        shape = library.AutoConfig.from_pretrained(folder, **local)
        shape.id2label = {number: str(number + 1) for number in range(outputs)}
        shape.label2id = {label: number for number, label in shape.id2label.items()}
        loader = library.AutoModelForSequenceClassification
        model = loader.from_pretrained(folder, config=shape, ignore_mismatched_sizes=True, use_safetensors=True, **local)
        model.to(runtime.device)
        tokenizer = library.AutoTokenizer.from_pretrained(folder, **local)
        _train(model.train(), tokenizer, pairs, wanted, config, runtime, progress)
    draft = out.with_name(f".{out.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    model.save_pretrained(draft)
    tokenizer.save_pretrained(draft)
    draft.rename(out)
    head: Literal["rating", "last"] = "rating" if config.target == "rating" else "last"
    return CrossEncoder(out, head=head, max_tokens=config.max_tokens, precision=config.precision)


def _train(
    model: Any,
    tokenizer: Any,
    pairs: Sequence[tuple[str, str]],
    targets: np.ndarray,
    config: CrossEncoderTraining,
    runtime: Runtime,
    progress: Progress | None,
) -> None:
    first, second = (checked_texts([pair[side] for pair in pairs]) for side in (0, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.01)
    steps = config.epochs * -(-len(pairs) // config.batch_size)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
    device, bf16, step = runtime.device, runtime.compute_dtype == torch.bfloat16, 0
    for epoch in range(config.epochs):
        order = generator(config.seed, "pairs", epoch).permutation(len(pairs))
        for start in range(0, len(order), config.batch_size):
            rows = order[start : start + config.batch_size]
            texts = [first[row] for row in rows], [second[row] for row in rows]
            inputs = tokenizer(*texts, padding=True, truncation=True, max_length=config.max_tokens, return_tensors="pt").to(device)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
                logits = model(**inputs).logits.float()
            optimizer.zero_grad()
            _loss(logits, torch.from_numpy(targets[rows]).to(device)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            step += 1
            if progress is not None:
                progress("training the cross-encoder", step, steps)


def _loss(logits: Tensor, targets: Tensor) -> Tensor:
    if logits.shape[1] == 1:
        return functional.binary_cross_entropy_with_logits(logits[:, 0], targets.float())
    return functional.cross_entropy(logits, targets.long() - 1)


def _checked_targets(targets: Sequence[float] | np.ndarray, pairs: int, kind: str) -> np.ndarray:
    values = np.asarray(targets, dtype=np.float32)
    if values.shape != (pairs,) or not pairs:
        raise DataError(f"{pairs} pairs came with targets of shape {values.shape}; give one target per pair, and at least one pair")
    allowed = np.isin(values, (0, 1)) if kind == "relevance" else (values >= 1) & (values == np.round(values)) & (values <= 100)
    if not allowed.all():
        rule = "0 or 1" if kind == "relevance" else "whole numbers from 1 to 100"
        raise DataError(f"target {values[~allowed][0]:g} does not fit `target` = {kind!r}; allowed: {rule}")
    if kind == "rating" and values.max() < 2:
        raise DataError("all ratings are 1, so there is nothing to tell apart; give pairs of several ratings")
    return values
