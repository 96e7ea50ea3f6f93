"""Which people a language model is tuned on: important ones, and some of every kind (Luo et al., 2023: RecRanker)."""

from __future__ import annotations

import numpy as np
import torch

from recsmith.data import Histories
from recsmith.nn.graph import InteractionGraph
from recsmith.nn.quantizers import kmeans

_AXES = 16
"""Directions of the item space by which people are grouped."""


def sampled_people(histories: Histories, *, people: int, clusters: int, penalty: float, items: int, seed: int) -> np.ndarray:
    """How often each training row is to be used, int64 `[row]`.

    Half of `people` are drawn with replacement by the logarithm of their number of events; half from clusters of people (k-means on the
    mean of their items' main axes), evenly over the clusters. The n-th time that somebody is drawn counts with probability penalty^(n-1).
    """
    random = np.random.default_rng(seed)
    known = np.flatnonzero(histories.lengths >= 2)
    counts = np.zeros(len(histories), dtype=np.int64)
    if not len(known):
        return counts
    weights = np.log1p(histories.lengths[known])
    important = random.choice(known, (people + 1) // 2, p=weights / weights.sum())
    groups = people_clusters(histories, known, clusters=clusters, items=items, seed=seed)
    sizes = np.bincount(groups)
    even = 1 / sizes[groups]
    varied = random.choice(known, people // 2, p=even / even.sum())
    drawn = np.bincount(np.concatenate([important, varied]), minlength=len(histories))
    rows = np.repeat(np.arange(len(histories)), drawn)
    time = np.arange(len(rows)) - np.repeat(np.cumsum(drawn) - drawn, drawn)
    return np.bincount(rows[random.random(len(rows)) < penalty**time], minlength=len(histories))


def people_clusters(histories: Histories, rows: np.ndarray, *, clusters: int, items: int, seed: int) -> np.ndarray:
    """The cluster of each of these rows, int64 `[row]`."""
    graph = InteractionGraph()
    graph.set(torch.from_numpy(histories.values), torch.from_numpy(histories.offsets))
    axes = graph.item_axes(items, dim=min(_AXES, items), seed=seed)
    kept = histories.take(rows)
    total = torch.zeros(len(rows), axes.shape[1]).index_add(0, torch.from_numpy(kept.rows), axes[torch.from_numpy(kept.values)].float())
    means = total / torch.from_numpy(kept.lengths).clamp(min=1)[:, None]
    return kmeans(means, min(clusters, len(rows)), seed=seed)[1].numpy()
