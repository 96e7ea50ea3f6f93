"""`GraphCodes`: a tree of clusters of what a graph model has learned about who had what (Wang et al., 2024, arXiv:2403.18480)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from recsmith.data import Histories
from recsmith.item_tokenizers.hierarchical import HierarchicalConfig, HierarchicalKMeans
from recsmith.item_tokenizers.plain import ObservingTokenizer, PlainConfig
from recsmith.nn.graph import InteractionGraph
from recsmith.seeding import derive_seed


class GraphConfig(PlainConfig):
    """Settings of the graph model and of the tree."""

    levels: int = Field(3, ge=1, le=16)
    """Depth of the tree; the collision level comes on top."""
    size: int = Field(0, ge=0, le=65_536)
    """Branches of a node; 0 takes just enough for as many leaves as there are items."""
    dim: int = Field(64, ge=1)
    """Width of the vectors of items and people."""
    layers: int = Field(2, ge=0)
    """Steps of propagation over the graph; the vectors after all steps are averaged."""
    steps: int = Field(200, ge=1)
    """Optimiser steps."""
    batch_size: int = Field(8_192, ge=1)
    """Training events drawn for a step, each against a random item."""
    learning_rate: float = Field(0.02, gt=0)
    """Step size of Adam at the start; falls to zero along a line."""
    decay: float = Field(1e-4, ge=0)
    """Weight of the squared lengths of the vectors of a step's events."""


class GraphCodes(ObservingTokenizer):
    """Graph-based ids of ColaRec: LightGCN (He et al., 2020) learns item vectors from the training histories by BPR; the id is the path
    down a balanced tree of k-means clusters of these vectors, so that items liked by the same people share the first codes.

    Deviation: the tree is `HierarchicalKMeans`, balanced by prices, with a fixed depth. Items that nobody had keep what they were drawn as.
    """

    Config: ClassVar[type[PlainConfig]] = GraphConfig
    no_new_items = "nobody has met them yet"

    def _index(self, items: int, *, seed: int) -> tuple[np.ndarray, Sequence[int]]:
        vectors = graph_vectors(self._observed(items), items, self.config, seed=derive_seed(seed, "graph", "vectors"))
        tree = HierarchicalKMeans(HierarchicalConfig(levels=self.config.levels, size=self.config.size, components=0))
        codes = tree.fit(vectors, seed=derive_seed(seed, "graph", "tree"))
        return codes.table[:, :-1], codes.sizes[:-1]


def graph_vectors(histories: Histories, items: int, config: GraphConfig, *, seed: int) -> np.ndarray:
    """LightGCN's item vectors after propagation, float32 `[item, dim]`; equal seeds give equal vectors."""
    known = histories.where(histories.values >= 0)
    graph = InteractionGraph()
    graph.set(torch.from_numpy(known.values.copy()), torch.from_numpy(known.offsets.copy()))
    random = torch.Generator().manual_seed(seed >> 1)
    own = torch.nn.Parameter(torch.randn(items, config.dim, generator=random) * 0.1)
    people = torch.nn.Parameter(torch.randn(graph.people, config.dim, generator=random) * 0.1)
    optimizer = torch.optim.Adam([own, people], lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=config.steps)
    for _ in range(config.steps if len(graph.items) else 0):
        edges = torch.randint(len(graph.items), (min(config.batch_size, len(graph.items)),), generator=random)
        rows, liked = graph.rows[edges], graph.items[edges]
        others = torch.randint(items, (len(edges),), generator=random)
        item_table, people_table = _propagated(graph, own, people, config.layers)
        ahead = (people_table[rows] * (item_table[liked] - item_table[others])).sum(1)
        lengths = people[rows].square().sum(1) + own[liked].square().sum(1) + own[others].square().sum(1)
        loss = -F.logsigmoid(ahead).mean() + config.decay * lengths.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return _propagated(graph, own, people, config.layers)[0].numpy()


def _propagated(graph: InteractionGraph, items: Tensor, people: Tensor, layers: int) -> tuple[Tensor, Tensor]:
    """Mean of the vectors after 0 … `layers` steps over the graph, of items and of people."""
    of_items, of_people = [items], [people]
    for _ in range(layers):
        items, people = graph.to_items(people, len(items)), graph.to_people(items)
        of_items.append(items)
        of_people.append(people)
    return torch.stack(of_items).mean(0), torch.stack(of_people).mean(0)
