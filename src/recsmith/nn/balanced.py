"""k-means with clusters of equal size: rows pay a price for crowded clusters (the dual of an entropic transport problem: Cuturi, 2013)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from recsmith.nn.quantizers import kmeans

_PRICE_STEPS = 30
_SHARPNESS = 0.02
"""Entropy of the prices' transport problem, as a share of the mean squared distance."""


def balanced_kmeans(x: Tensor, k: int, *, seed: int, iterations: int = 15) -> tuple[Tensor, Tensor, Tensor]:
    """k-means with clusters of equal size, the largest at most one row above the mean, for `x` `[row, dim]` with at least k rows.

    Returns centroids `[k, dim]`, prices `[k]` and the assignment int64 `[row]`. A row mostly has the cluster of the least
    squared distance plus price; the rule for new rows is that one.
    """
    if len(x) == k:
        return x.clone(), torch.zeros(k), torch.arange(k)
    centroids, _ = kmeans(x, k, seed=seed, iterations=5)
    capacity = -(-len(x) // k)
    previous = None
    for _ in range(iterations):
        distances = squared_distances(x, centroids)
        prices = _balancing_prices(distances)
        assignment = _within_capacity(distances + prices, capacity)
        counts = torch.bincount(assignment, minlength=k).unsqueeze(1)
        sums = torch.zeros_like(centroids).index_add_(0, assignment, x)
        if previous is not None and torch.equal(previous, assignment):
            break
        centroids = torch.where(counts > 0, sums / counts.clamp(min=1), centroids)
        previous = assignment
    return centroids, _balancing_prices(squared_distances(x, centroids)), assignment


def squared_distances(x: Tensor, centroids: Tensor) -> Tensor:
    """Squared distances `[row, centroid]`."""
    return (x.square().sum(1, keepdim=True) - 2 * x @ centroids.T + centroids.square().sum(1)).clamp_(min=0)


def _balancing_prices(distances: Tensor) -> Tensor:
    """Price per column of `distances` `[row, column]` under which all columns are chosen about equally often; the least is 0."""
    rows, columns = distances.shape
    temperature = max(float(distances.mean()) * _SHARPNESS, 1e-12)
    attraction = -distances / temperature
    column = torch.zeros(columns)
    for _ in range(_PRICE_STEPS):
        row = -torch.logsumexp(attraction + column, dim=1, keepdim=True)
        column = math.log(rows / columns) - torch.logsumexp(attraction + row, dim=0)
    return (column.max() - column) * temperature


def _within_capacity(costs: Tensor, capacity: int) -> Tensor:
    """The cheapest column of each row of `costs` `[row, column]`, no column more than `capacity` times.

    Rows that lose most by going elsewhere choose first.
    """
    costs = costs.clone()
    assignment = torch.full((len(costs),), -1, dtype=torch.int64)
    room = [capacity] * costs.shape[1]
    while len(waiting := (assignment < 0).nonzero().squeeze(1)):
        best = costs[waiting].topk(min(2, costs.shape[1]), dim=1, largest=False)
        order = (best.values[:, -1] - best.values[:, 0]).argsort(descending=True, stable=True)
        choice = best.indices[order, 0]
        for column in choice.unique().tolist():
            accepted = waiting[order[choice == column]][: room[column]]
            assignment[accepted] = column
            room[column] -= len(accepted)
            if room[column] == 0:
                costs[:, column] = torch.inf
    return assignment
