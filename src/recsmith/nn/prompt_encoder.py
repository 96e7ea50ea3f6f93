"""`PromptEncoder`: a small network that writes the vectors of soft prompts, so that they depend on each other."""

from __future__ import annotations

from torch import Tensor, nn


class PromptEncoder(nn.Module):
    """Learned vectors of virtual tokens `[token, dim]` → those that the language model reads, `[token, dim]`.

    P-tuning: "GPT understands, too" (Liu et al., 2021, arXiv:2103.10385): a bidirectional LSTM and two linear layers with a ReLU between.
    Deviations: one layer of LSTM, `dim` / 2 wide each way; the virtual tokens stand before the input, where the paper also puts some
    inside it.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        each = (dim + 1) // 2
        self.reader = nn.LSTM(dim, each, bidirectional=True)
        self.writer = nn.Sequential(nn.Linear(2 * each, dim), nn.ReLU(), nn.Linear(dim, dim))

    def forward(self, vectors: Tensor) -> Tensor:
        states, _ = self.reader(vectors)
        written: Tensor = self.writer(states)
        return written
