"""Encoders and decoders of sets whose values fall into clusters, each with layers of its own; no dense row is formed on the way in.

Letters of the shapes: `token` = values of all rows laid end to end, `batch` = rows, `item` = number of different values.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recsmith.nn.packed import offsets_from, row_ids


class ClusterEncoder(nn.Module):
    """Per row and cluster: the weighted sum of the vectors of the cluster's values, tanh, and the cluster's own linear layer."""

    def __init__(self, items: int, clusters: int, *, hidden: int, latent: int) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(items, hidden, mode="sum", include_last_offset=True)
        self.bias = nn.Parameter(torch.zeros(clusters, hidden))
        self.out = _ClusterLinear(clusters, hidden, latent)
        nn.init.xavier_normal_(self.embedding.weight)

    def forward(self, values: Tensor, offsets: Tensor, weights: Tensor, clusters: Tensor) -> Tensor:
        """Packed values with their weights `[token]`, and the cluster of each possible value int64 `[item]`; `[batch, cluster, latent]`."""
        count, rows = len(self.bias), len(offsets) - 1
        bags = row_ids(offsets, tokens=len(values)) * count + clusters[values]
        order = bags.argsort(stable=True)
        borders = offsets_from(torch.bincount(bags, minlength=rows * count))
        sums = self.embedding(values[order], borders, weights[order]).view(rows, *self.bias.shape)
        return self.out(torch.tanh(sums + self.bias))


class ClusterDecoder(nn.Module):
    """Per cluster a linear layer and tanh; the score of a value is the product of its vector with its cluster's result, plus a bias."""

    def __init__(self, items: int, clusters: int, *, hidden: int, latent: int) -> None:
        super().__init__()
        self.first = _ClusterLinear(clusters, latent, hidden)
        self.weight = nn.Parameter(torch.empty(items, hidden))
        self.bias = nn.Parameter(torch.zeros(items))
        nn.init.xavier_normal_(self.weight)

    def forward(self, latent: Tensor, clusters: Tensor) -> Tensor:
        """Joined latent vectors `[batch, cluster · latent]` and the cluster of each value int64 `[item]` → scores `[batch, item]`."""
        count = len(self.first.bias)
        hidden = torch.tanh(self.first(latent.view(len(latent), *self.first.weight.shape[:2])))
        order = clusters.argsort(stable=True)
        members = order.split(torch.bincount(clusters, minlength=count).tolist())
        parts = [hidden[:, number] @ self.weight[some].T for number, some in enumerate(members)]
        return torch.cat(parts, 1)[:, order.argsort()] + self.bias


class _ClusterLinear(nn.Module):
    """A linear layer for each cluster, `[batch, cluster, width]` → `[batch, cluster, out]`."""

    def __init__(self, clusters: int, width: int, out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(clusters, width, out))
        self.bias = nn.Parameter(torch.zeros(clusters, out))
        for weight in self.weight:
            nn.init.xavier_normal_(weight.data)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bcw,cwo->bco", x, self.weight) + self.bias
