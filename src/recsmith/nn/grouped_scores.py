"""Scores of items that are told apart in groups (domains, scenarios), each of which sees a person's state in its own way."""

from __future__ import annotations

from torch import Tensor


def grouped_scores(states: Tensor, vectors: Tensor, groups: Tensor) -> Tensor:
    """Inner product of each item's vector with the state that its group sees, `[row, item]`.

    `states` `[row, group, dim]`, `vectors` `[item, dim]`, `groups` int64 `[item]`.
    """
    scores = states.new_zeros(len(states), len(groups))
    for number in range(states.shape[1]):
        members = (groups == number).nonzero()[:, 0]
        scores = scores.index_copy(1, members, (states[:, number] @ vectors[members].T).to(scores.dtype))
    return scores
