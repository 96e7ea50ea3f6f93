"""Small trainable parts beside frozen linear maps: low-rank updates (Hu et al., 2022) and bottleneck adapters (Houlsby et al., 2019)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class LowRank(nn.Module):
    """A frozen linear map plus a trainable product of two thin matrices; at first it maps as the frozen one does.

    `[…, in]` → `[…, out]`. LoRA: "Low-rank adaptation of large language models" (ICLR 2022); `scale` is the paper's alpha.
    """

    def __init__(self, base: nn.Linear, *, rank: int, scale: float) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Parameter(torch.empty(rank, base.in_features, device=base.weight.device))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank, device=base.weight.device))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.factor = scale / rank

    @property
    def weight(self) -> Tensor:
        """The frozen weights, for models that look at their number type."""
        return self.base.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + functional.linear(functional.linear(x, self.down), self.up) * self.factor

    def merged(self) -> nn.Linear:
        """One linear map that answers the same."""
        merged = nn.Linear(self.base.in_features, self.base.out_features, bias=self.base.bias is not None, device=self.base.weight.device)
        with torch.no_grad():
            merged.weight.copy_(self.base.weight + self.up @ self.down * self.factor)
            if self.base.bias is not None:
                merged.bias.copy_(self.base.bias)
        return merged


class Bottleneck(nn.Module):
    """A frozen linear map whose answer a narrow trainable layer corrects; at first it corrects nothing. `[…, in]` → `[…, out]`.

    "Parameter-efficient transfer learning for NLP" (ICML 2019); the non-linearity makes it impossible to merge.
    """

    def __init__(self, base: nn.Linear, *, width: int) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Linear(base.out_features, width, device=base.weight.device)
        self.up = nn.Linear(width, base.out_features, device=base.weight.device)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    @property
    def weight(self) -> Tensor:
        """The frozen weights, for models that look at their number type."""
        return self.base.weight

    def forward(self, x: Tensor) -> Tensor:
        answer = self.base(x)
        return answer + self.up(functional.gelu(self.down(answer)))


class Mixture:
    """How much of each of several updates the rows of the next call get, `[row, part]`; None: nothing of any."""

    shares: Tensor | None = None


class MixedLowRank(nn.Module):
    """A linear map plus a mixture of low-rank updates, another one for each row; at first it maps as the linear map does.

    `[row, …, in]` → `[row, …, out]`. All maps of a model look at one `Mixture`.
    """

    def __init__(self, base: nn.Linear, mixture: Mixture, *, parts: int, rank: int, scale: float) -> None:
        super().__init__()
        self.base, self.mixture, self.rank, self.factor = base, mixture, rank, scale / rank
        self.down = nn.Parameter(torch.empty(parts * rank, base.in_features, device=base.weight.device))
        self.up = nn.Parameter(torch.zeros(base.out_features, parts * rank, device=base.weight.device))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    @property
    def weight(self) -> Tensor:
        """The weights of the linear map, for models that look at their number type."""
        return self.base.weight

    def forward(self, x: Tensor) -> Tensor:
        shares = self.mixture.shares
        if shares is None:
            return self.base(x)
        each = shares.repeat_interleave(self.rank, dim=1).view(len(shares), *[1] * (x.dim() - 2), -1)
        return self.base(x) + functional.linear(functional.linear(x, self.down) * each, self.up) * self.factor
