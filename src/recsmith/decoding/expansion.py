"""One level of a search in a code trie: the children of every hypothesis with their log-probabilities, and what is kept of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from recsmith.decoding.masks import SearchMask
from recsmith.decoding.trie import CodeTrie

Normalise = Literal["level", "alive", "none"]
"""How the model's outputs become log-probabilities: log-softmax over all codes of the level, over those that still lead to an
allowed item, or not at all because the model already answers log-probabilities."""

LEAST = -1e37
"""Stands in for log 0 of a code that the model rules out but the catalogue offers, so that only masks give -inf."""


@dataclass(frozen=True)
class Beams:
    """Hypotheses of a batch: prefixes of items, in the order of their nodes."""

    nodes: Tensor
    """Node of each hypothesis at the current depth, int64 `[batch, beam]`."""
    log_probabilities: Tensor
    """What the model says of the prefix, float32 `[batch, beam]`; -inf where there is no hypothesis."""
    keys: Tensor
    """What the search ranks by, float32 `[batch, beam]`: log-probabilities, unless boosts or noise are added."""
    marks: Tensor | None = None
    """A number per hypothesis that a selection keeps for itself, int64 `[batch, beam]`."""

    @classmethod
    def root(cls, rows: int, device: torch.device) -> Beams:
        """One empty prefix a row."""
        zeros = torch.zeros(rows, 1, device=device)
        return cls(zeros.long(), zeros, zeros)


@dataclass(frozen=True)
class Expansion:
    """All prefixes that are one code longer."""

    level: int
    child: Tensor
    """Node of each, int64 `[batch, beam, child]`."""
    log_probabilities: Tensor
    """Of the code given its prefix, float32 `[batch, beam, child]`; -inf where the limits or the catalogue end."""
    logits: Tensor
    """The same before it was normalised."""
    hopes: Tensor | None
    """Largest bonus below each child, or None without bonuses."""
    codes: Tensor
    """The code of each child, int64 `[batch, beam, child]`."""


class Selection(Protocol):
    """What a search keeps of an expansion."""

    @property
    def normalise(self) -> Normalise | None:
        """The normalisation it needs; None takes the caller's."""
        ...

    def begin(self) -> Selection:
        """Called once for every answer; a selection that draws starts its stream here."""
        ...

    def asked(self, k: int, beams: int) -> int:
        """Items to ask for at first where rules may skip some of them."""
        ...

    def width(self, k: int, beams: int) -> int:
        """Hypotheses to keep for lists of length k."""
        ...

    def select(self, beams: Beams, expansion: Expansion, width: int, k: int | None) -> tuple[Beams, Tensor]:
        """The kept prefixes in ascending order of nodes, and the beam `[batch, kept]` that each continues; k is given at the last level."""
        ...


def expand(trie: CodeTrie, mask: SearchMask, level: int, logits: Tensor, nodes: Tensor, normalise: Normalise) -> Expansion:
    """Children of `nodes` `[batch, beam]` under the model's `logits` `[batch, beam, size of level]`."""
    logits = logits if normalise == "alive" else log_probabilities(logits, normalise)
    return expand_by(trie, mask, level, nodes, lambda child, codes: logits.gather(2, codes), alive=normalise == "alive")


def expand_by(
    trie: CodeTrie, mask: SearchMask, level: int, nodes: Tensor, score: Callable[[Tensor, Tensor], Tensor], *, alive: bool
) -> Expansion:
    """Children of `nodes` under `score(child, codes)`, all `[batch, beam, child]`; `alive` makes probabilities of those not masked."""
    first = trie.children[level][nodes]
    span = torch.arange(trie.widest[level], device=nodes.device)
    beyond = span >= (trie.children[level][nodes + 1] - first)[..., None]
    child = (first[..., None] + span).clamp_(max=trie.nodes(level + 1) - 1)
    codes = trie.codes[level + 1][child]
    candidates = score(child, codes).clamp_(min=LEAST)
    candidates.masked_fill_(beyond, -torch.inf)
    mask.apply(candidates, trie, level, nodes, child)
    normed = candidates
    if alive:
        normed = candidates - candidates.logsumexp(dim=2, keepdim=True).clamp(min=LEAST)
    return Expansion(level, child, normed, candidates, mask.hopes(level + 1, child), codes)


def log_probabilities(logits: Tensor, normalise: Normalise) -> Tensor:
    """Of all codes of a level."""
    return logits if normalise == "none" else logits.log_softmax(dim=-1)


def keep(expansion: Expansion, chosen: Tensor, totals: Tensor, keys: Tensor) -> tuple[Beams, Tensor]:
    """The hypotheses at `chosen` `[batch, kept]` positions of the flattened children, and their parents."""
    nodes = expansion.child.flatten(1).gather(1, chosen)
    beams = Beams(nodes, totals.flatten(1).gather(1, chosen), keys.flatten(1).gather(1, chosen))
    return beams, chosen // expansion.child.shape[2]
