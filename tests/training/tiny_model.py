"""The smallest model that learns by gradient, and rows with a pattern that it can learn; used by tests and by their subprocess."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recsmith.data import Histories
from recsmith.nn.dropout import Dropout
from recsmith.nn.losses import fused_cross_entropy
from recsmith.nn.packed import next_token
from recsmith.protocols import HistoryBatch
from recsmith.training import TrainingConfig

ITEMS = 12
CONFIG = TrainingConfig(epochs=4, batch_size=8, learning_rate=0.05, device="cpu", precision="fp32", validate_every=0.5, patience=None)


class Markov(nn.Module):
    """The next item from the last one, with dropout so that randomness matters."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.inputs = nn.Parameter(torch.randn(ITEMS, 6, generator=generator) * 0.1)
        self.outputs = nn.Parameter(torch.randn(ITEMS, 6, generator=generator) * 0.1)
        self.bias = nn.Parameter(torch.zeros(ITEMS))
        self.dropout = Dropout(0.2)
        self.steps: list[int] = []

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        self.steps.append(step)
        shift = next_token(batch.offsets, tokens=len(batch.items))
        hidden = self.dropout(self.inputs[batch.items[shift.inputs]])
        return fused_cross_entropy(hidden, self.outputs, batch.items[shift.targets], bias=self.bias)

    def accuracy(self) -> float:
        """Share of items whose successor is guessed."""
        with torch.no_grad():
            guess = (self.inputs @ self.outputs.T + self.bias).argmax(1)
        return (guess == (torch.arange(ITEMS) + 1) % ITEMS).float().mean().item()


def circle_histories(rows: int = 60) -> Histories:
    """Everybody walks around the circle of items."""
    return Histories.from_rows([[(row + step) % ITEMS for step in range(3 + row % 5)] for row in range(rows)])
