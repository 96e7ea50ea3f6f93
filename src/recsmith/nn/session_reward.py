"""How much of a list a person would take: a reward model that sees the list as a whole.

Letters of the shapes: `row` = people, `size` = items of a list.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsmith.nn.code_sets import CodeSets
from recsmith.nn.slates import SlateConfig, SlateReader, Slates
from recsmith.protocols import HistoryBatch


class SessionReward(nn.Module):
    """P(item of a list is taken | person, list): items times the person's state, attention among the list's items, and a tower.

    Items are the means of their codes' vectors, so nothing here belongs to a single item. The person's state is recurrent and its own,
    shared with no policy. What it learns from: lists of the log, whose items were taken or not, half of these replaced at random, which
    were not.
    """

    def __init__(self, config: SlateConfig, *, table: Tensor, sizes: Sequence[int]) -> None:
        super().__init__()
        self.reader = SlateReader(config, items=1)
        self.reader.items = CodeSets(table, sizes, config.dim)  # type: ignore[assignment]  # called like the table of vectors it replaces
        nn.init.normal_(self.items.vectors.weight, std=1.0)
        self.mix = nn.Linear(config.dim, 3 * config.dim)
        self.tower = nn.Sequential(nn.Linear(config.dim, config.hidden), nn.ReLU(), nn.Linear(config.hidden, 1))

    @property
    def items(self) -> CodeSets:
        """Vectors of items."""
        return cast("CodeSets", self.reader.items)

    def loss(self, slates: Slates, batch: HistoryBatch) -> Tensor:
        """Mean binary cross-entropy over the filled slots of the slates as they are, and with a random half of their items replaced."""
        people = self.reader.before(slates, batch)
        replaced = (torch.rand(slates.items.shape, device=people.device) < 0.5) & slates.filled
        drawn = torch.randint(len(self.items.numbers), slates.items.shape, device=people.device)
        drawn = torch.where(replaced, drawn, slates.items)
        own, other = (self.logits(people, items)[slates.filled] for items in (slates.items, drawn))
        clicks = torch.where(replaced & (drawn != slates.items), 0.0, slates.clicks)[slates.filled]
        shown = F.binary_cross_entropy_with_logits(own, slates.clicks[slates.filled])
        return shown + F.binary_cross_entropy_with_logits(other, clicks)

    def people(self, histories: HistoryBatch) -> Tensor:
        """The state after each row, `[row, dim]`."""
        return self.reader.after(histories)

    def rewards(self, people: Tensor, lists: Tensor) -> Tensor:
        """Expected number of items taken of each list int64 `[row, size]`, -1 where a slot is empty; `[row]`."""
        return (self.logits(people, lists).sigmoid() * (lists >= 0)).sum(1)

    def logits(self, people: Tensor, lists: Tensor) -> Tensor:
        """Log-odds that each item of `lists` `[row, size]` is taken; the same shape."""
        there = lists >= 0
        vectors = self.items(lists.clamp(min=0).flatten()).unflatten(0, lists.shape) * people[:, None]
        query, key, value = self.mix(vectors).chunk(3, -1)
        scores = (query @ key.transpose(1, 2) * query.shape[-1] ** -0.5).masked_fill(~there[:, None], -torch.inf)
        weights = scores.softmax(-1).nan_to_num()  # a list without items attends to nothing
        return self.tower(vectors + weights @ value)[..., 0] + vectors.sum(-1)
