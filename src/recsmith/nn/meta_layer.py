"""A layer whose weights another network makes of a text's vector (Wang et al., 2024: the meta layers of LLM4MSR)."""

from __future__ import annotations

from torch import Tensor, nn


class MetaNetwork(nn.Module):
    """Vectors of texts `[text, told]` → a weight matrix `[text, dim, dim]` and a bias `[text, dim]` for each; small at the start."""

    def __init__(self, told: int, dim: int, *, hidden: int) -> None:
        super().__init__()
        self.dim = dim
        self.read = nn.Sequential(nn.Linear(told, hidden), nn.ReLU())
        self.weight, self.bias = nn.Linear(hidden, dim * dim), nn.Linear(hidden, dim)
        for made, std in ((self.weight, 0.5 * dim**-0.5 * hidden**-0.5), (self.bias, 0.02)):
            nn.init.normal_(made.weight, std=std)
            nn.init.zeros_(made.bias)

    def forward(self, told: Tensor) -> tuple[Tensor, Tensor]:
        read = self.read(told)
        return self.weight(read).view(-1, self.dim, self.dim), self.bias(read)
