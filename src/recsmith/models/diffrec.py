"""DiffRec: a person's item set, blurred a little and restored by a denoising network (Wang et al. 2023)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from recsmith.nn.bags import dense_rows
from recsmith.nn.packed import reversed_positions, row_ids
from recsmith.nn.row_diffusion import RowDiffusion, RowDiffusionConfig
from recsmith.protocols import HistoryBatch


class DiffRecConfig(RowDiffusionConfig):
    """Sizes and noise of DiffRec."""

    oldest_weight: float = Field(default=1.0, ge=0, le=1)
    """What the oldest event of a history counts in its row, rising evenly to 1 for the newest; below 1 this is T-DiffRec."""


class DiffRec(nn.Module):
    """Adds a little Gaussian noise to the 0/1 row of a person's items, step by step, and learns to undo it.

    Paper: Wang, Xu, Feng, Lin, He & Chua, "Diffusion Recommender Model", SIGIR 2023: DiffRec, and with `oldest_weight` below 1
    T-DiffRec, in which recent events count more. The network predicts the clean row from a noisy one and the step; to answer, the
    history's row itself enters at the last step and goes back through the means of all posterior steps, without noise, so that
    answers are the same every time. The paper's latent variant is `l-diffrec`.

    Deviations: the answer starts from the row without noise (the paper's T' = 0). The weights of the steps are divided by their mean,
    which changes the size of the loss but not its minimum; losses for drawing steps are remembered as running means per step instead of
    the last ten. Rows are dense inside a batch, as noise is: `[batch, item]` and up to six arrays like it in training.
    """

    Config: ClassVar[type[DiffRecConfig]] = DiffRecConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(self, config: DiffRecConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.items = items
        self.denoiser = RowDiffusion(config, width=items)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Squared error of the restored row, summed over items and weighted by its diffusion step; mean over rows."""
        errors, _ = self.denoiser.losses(self._rows(batch))
        return errors.sum() / max(len(batch), 1)

    def score(self, batch: HistoryBatch) -> Tensor:
        """`[batch, item]`: the row restored through all steps."""
        return self.denoiser.walk_back(self._rows(batch))

    def _rows(self, batch: HistoryBatch) -> Tensor:
        """The batch's rows, `[batch, item]`: 0 or 1, or what the newest event of each item counts."""
        tokens, dtype = len(batch.items), self.denoiser.step.weight.dtype
        counts = torch.ones(tokens, dtype=dtype, device=batch.items.device)
        if self.config.oldest_weight < 1:
            owners = row_ids(batch.offsets, tokens=tokens)
            age = reversed_positions(batch.offsets, tokens=tokens) / (batch.offsets.diff() - 1).clamp(min=1)[owners]
            counts = 1 - (1 - self.config.oldest_weight) * age.to(dtype)
        return dense_rows(batch.items, batch.offsets, counts, size=self.items)
