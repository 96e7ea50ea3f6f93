"""Search by walking a graph of similar nodes: the best nodes for a row, found by scoring a small part of them.

Letters of the shapes: `row` = searches of one call, `node` = nodes of the graph, `edge` = neighbours of a node.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

ScoreNodes = Callable[[Tensor], Tensor]
"""Nodes to score for each row, int64 `[row, candidate]` → their scores, `[row, candidate]`."""

_CELLS = 1 << 24


def nearest_nodes(vectors: Tensor, edges: int) -> Tensor:
    """For each row of `vectors` `[node, dim]` the `edges` others with the largest inner product, best first; int64 `[node, edge]`.

    With fewer than `edges` others, all of them. Exact: holds `[chunk, node]` at a time.
    """
    edges = min(edges, len(vectors) - 1)
    parts = []
    for start, part in _chunks(vectors):
        similar = part @ vectors.T
        own = torch.arange(start, start + len(part), device=vectors.device)
        similar[own - start, own] = -torch.inf
        parts.append(similar.topk(edges, dim=1).indices)
    return torch.cat(parts)


def walk(score: ScoreNodes, graph: Tensor, *, rows: int, beams: int, steps: int) -> tuple[Tensor, Tensor]:
    """All nodes that a walk meets and their scores, int64 and float `[row, met]`; a node met twice is scored -inf the second time.

    `graph` int64 `[node, edge]`. The walk starts from `beams` nodes spread evenly over the graph; each of its `steps` scores the
    neighbours of the nodes held and holds the best `beams` of all met so far. With `edge` = all other nodes, one step meets every node.
    """
    nodes = len(graph)
    starts = torch.linspace(0, nodes - 1, min(beams, nodes), device=graph.device).round().long()
    met = starts.expand(rows, -1)
    scores = score(met)
    for _ in range(steps):
        held = met.gather(1, scores.topk(min(beams, scores.shape[1]), dim=1).indices)
        found = graph[held].flatten(1)
        met, scores = torch.cat([met, found], 1), torch.cat([scores, score(found)], 1)
        met, scores = _first_meetings(met, scores)
    return met, scores


def _first_meetings(met: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """The same, in order of node, with -inf for all but one mention of each node."""
    met, order = met.sort(dim=1, stable=True)
    repeated = torch.zeros_like(met, dtype=torch.bool)
    repeated[:, 1:] = met[:, 1:] == met[:, :-1]
    return met, scores.gather(1, order).masked_fill(repeated, -torch.inf)


def _chunks(vectors: Tensor) -> list[tuple[int, Tensor]]:
    size = max(1, _CELLS // max(1, len(vectors)))
    return [(start, vectors[start : start + size]) for start in range(0, len(vectors), size)]
