from __future__ import annotations

import torch

from recsmith.nn.graph_walk import nearest_nodes, walk


def ring(nodes: int) -> torch.Tensor:
    """Node n leads to its two neighbours on a ring."""
    places = torch.arange(nodes)
    return torch.stack([(places - 1) % nodes, (places + 1) % nodes], 1)


def closeness(goals: torch.Tensor, nodes: int):
    """Scores that rise toward one goal per row."""

    def score(asked: torch.Tensor) -> torch.Tensor:
        apart = (asked - goals[:, None]).abs()
        return -torch.minimum(apart, nodes - apart).float()

    return score


def test_nearest_nodes_are_those_of_a_full_sort() -> None:
    vectors = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    similar = (vectors @ vectors.T).fill_diagonal_(-torch.inf)
    assert torch.equal(nearest_nodes(vectors, 7), similar.argsort(1, descending=True)[:, :7])
    assert nearest_nodes(vectors, 100).shape == (40, 39)


def test_a_walk_climbs_to_the_goal_through_a_small_part_of_the_graph() -> None:
    goals = torch.tensor([3, 497, 612])
    met, scores = walk(closeness(goals, 1000), ring(1000), rows=3, beams=10, steps=60)
    assert torch.equal(met.gather(1, scores.argmax(1, keepdim=True))[:, 0], goals)
    assert all(len(row.unique()) < 300 for row in met)


def test_each_node_counts_once_and_keeps_its_score() -> None:
    goals = torch.tensor([5, 8])
    score = closeness(goals, 30)
    met, scores = walk(score, ring(30), rows=2, beams=4, steps=6)
    for row in range(2):
        counted = met[row][scores[row] > -torch.inf]
        assert len(counted.unique()) == len(counted)
    assert torch.equal(scores[scores > -torch.inf], score(met)[scores > -torch.inf])


def test_with_all_edges_one_step_meets_everything() -> None:
    graph = nearest_nodes(torch.randn(20, 4, generator=torch.Generator().manual_seed(1)), 19)
    met, _ = walk(closeness(torch.tensor([0, 9]), 20), graph, rows=2, beams=1, steps=1)
    assert all(len(row.unique()) == 20 for row in met)
