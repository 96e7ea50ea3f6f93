"""Normalising flows: invertible maps with the log-determinant of their Jacobian, from a standard normal to something richer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PlanarFlow(nn.Module):
    """z + u · tanh(w·z + b) (Rezende & Mohamed, 2015). `u` is bent where needed so that w·u ≥ -1, which makes the map invertible."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.direction = nn.Parameter(torch.randn(dim) * dim**-0.5)
        self.push = nn.Parameter(torch.randn(dim) * 0.01)
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """`[row, dim]` → the mapped values and log|det| of the Jacobian at each, `[row]`."""
        push = self._invertible_push()
        inner = torch.tanh(values @ self.direction + self.bias)
        slope = (1 - inner.square()) * (self.direction @ push)
        return values + inner[:, None] * push, torch.log1p(slope.clamp(min=-1 + 1e-6))

    def _invertible_push(self) -> Tensor:
        product = self.direction @ self.push
        wanted = F.softplus(product) - 1
        return self.push + (wanted - product) * self.direction / self.direction.square().sum().clamp(min=1e-12)


class CouplingFlow(nn.Module):
    """Half of the values, turned by turns, is scaled and shifted by what the other half says (real NVP, Dinh et al., 2017)."""

    def __init__(self, dim: int, hidden: int, *, odd: bool) -> None:
        super().__init__()
        self.register_buffer("kept", (torch.arange(dim) % 2 == int(odd)).float(), persistent=False)
        outputs = nn.Linear(hidden, 2 * dim)
        nn.init.zeros_(outputs.weight)
        nn.init.zeros_(outputs.bias)
        self.network = nn.Sequential(nn.Linear(dim, hidden), nn.Tanh(), outputs)

    kept: Tensor

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """`[row, dim]` → the mapped values and log|det| of the Jacobian at each, `[row]`."""
        scale, shift = self._scale_and_shift(values)
        return values * scale.exp() + shift, scale.sum(1)

    def inverse(self, values: Tensor) -> Tensor:
        """The values that `forward` maps to these."""
        scale, shift = self._scale_and_shift(values)
        return (values - shift) * (-scale).exp()

    def _scale_and_shift(self, values: Tensor) -> tuple[Tensor, Tensor]:
        scale, shift = self.network(values * self.kept).chunk(2, dim=1)
        return torch.tanh(scale) * (1 - self.kept), shift * (1 - self.kept)


class Flows(nn.Module):
    """Flows one after the other."""

    def __init__(self, flows: list[nn.Module]) -> None:
        super().__init__()
        self.flows = nn.ModuleList(flows)

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """`[row, dim]` → the mapped values and the sum of the log-determinants, `[row]`."""
        total = values.new_zeros(len(values))
        for flow in self.flows:
            values, change = flow(values)
            total = total + change
        return values, total


def log_normal(values: Tensor, mean: Tensor | None = None, log_variance: Tensor | None = None) -> Tensor:
    """Log-density of N(mean, exp(log_variance)) at `values`, summed over the last dimension; the standard normal without arguments."""
    mean = torch.zeros_like(values) if mean is None else mean
    log_variance = torch.zeros_like(values) if log_variance is None else log_variance
    constant = torch.log(torch.tensor(2 * torch.pi, dtype=values.dtype, device=values.device))
    return -0.5 * (constant + log_variance + (values - mean).square() / log_variance.exp()).sum(-1)
