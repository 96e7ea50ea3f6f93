"""Negatives: items drawn against a target, and the probability with which each was drawn where it is not the same for all.

Letters of the shapes: `token` = positions that predict an item, `negative` = items drawn, `pool` = candidates that a chooser picks from.
All draws come from torch's default generator. Inside `chosen_by(chooser)` the functions below draw a larger pool in their own way and let
the chooser pick from it, and losses tell it how the model scored what it picked: models need not know.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, Protocol

import torch
from torch import Tensor

NegativeKind = Literal["uniform", "in-batch"]
"""All items alike, or the batch's own targets, which draws popular items more often."""


class Chooser(Protocol):
    """Picks negatives out of candidates, and hears what became of them."""

    def pool_size(self, count: int) -> int:
        """How many candidates it wants to pick `count` from."""
        ...

    def choose(self, pool: Tensor, targets: Tensor | None, *, count: int) -> tuple[Tensor, Tensor]:
        """`count` places in `pool` (items int64 `[pool]`), and the probability of every place.

        With `targets` int64 `[token]` both have a row per token, `[token, negative]` and `[token, pool]`, and places that hold the target
        are left out; with None they are shared by all tokens, `[negative]` and `[pool]`.
        """
        ...

    def hear(self, scores: Tensor, hit: Tensor | None) -> None:
        """The model's scores `[token, negative]` of what was chosen last; `hit` marks negatives that are the target and do not count."""
        ...


_CHOOSER: ContextVar[Chooser | None] = ContextVar("chooser", default=None)


@contextmanager
def chosen_by(chooser: Chooser) -> Iterator[None]:
    """Let `chooser` pick all negatives that are drawn inside."""
    token = _CHOOSER.set(chooser)
    try:
        yield
    finally:
        _CHOOSER.reset(token)


def tell_scores(scores: Tensor, hit: Tensor | None = None) -> None:
    """Called by losses: the model's scores `[token, negative]` of the negatives drawn last, for whoever chose them."""
    chooser = _CHOOSER.get()
    if chooser is not None:
        chooser.hear(scores.detach(), hit)


def shared_negatives(*, items: int, count: int, device: torch.device) -> Tensor:
    """`count` items drawn uniformly with replacement, the same for all tokens; int64 `[negative]`."""
    chooser = _CHOOSER.get()
    if chooser is not None:
        pool = torch.randint(items, (chooser.pool_size(count),), device=device)
        return pool[chooser.choose(pool, None, count=count)[0]]
    return torch.randint(items, (count,), device=device)


def uniform_negatives(targets: Tensor, *, items: int, count: int) -> Tensor:
    """`count` items other than the target, drawn uniformly with replacement per token; int64 `[token, negative]`."""
    chooser = _CHOOSER.get()
    if chooser is not None and items > 1:
        pool = torch.randint(items, (chooser.pool_size(count),), device=targets.device)
        return pool[chooser.choose(pool, targets, count=count)[0]]
    drawn = torch.randint(max(items - 1, 1), (len(targets), count), device=targets.device)
    return drawn + (drawn >= targets[:, None]) if items > 1 else drawn


def log_uniform_negatives(*, items: int, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """`count` ranks drawn with P(rank) ∝ log((rank + 2) / (rank + 1)), shared by all tokens, and their log-probabilities.

    Right for items that are numbered by falling popularity; both results have shape `[negative]`.
    """
    drawn = (torch.rand(count, device=device).mul(torch.log(torch.tensor(items + 1.0, device=device))).exp() - 1.0).long()
    drawn = drawn.clamp(0, items - 1)
    ranks = drawn.to(torch.float32)
    normaliser = torch.log(torch.tensor(items + 1.0, device=device))
    return drawn, (torch.log1p(1.0 / (ranks + 1.0)) / normaliser).log()


def in_batch_negatives(targets: Tensor, *, count: int) -> tuple[Tensor, Tensor]:
    """Negatives drawn from the batch's own targets (popular items more often), shared by all tokens, and their log-probabilities."""
    chooser = _CHOOSER.get()
    if chooser is not None:
        pool = targets[torch.randint(len(targets), (chooser.pool_size(count),), device=targets.device)]
        places, probabilities = chooser.choose(pool, None, count=count)
        return pool[places], torch.bincount(pool, weights=probabilities)[pool[places]].to(probabilities.dtype).log()
    drawn = targets[torch.randint(len(targets), (count,), device=targets.device)]
    frequency = torch.bincount(targets)
    return drawn, (frequency[drawn].float() / len(targets)).log()
