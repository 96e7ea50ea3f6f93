"""Byte-pair encoding of packed rows of numbers: merge rules learned by counting neighbours, and segmentation by them.

Letters of the shapes: `token` = numbers of all rows laid end to end, `row` = rows, `rule` = merge rules, in the order learned.
A rule replaces two neighbours `(left, right)`, in either order, by the number `first + its place`; `first` is the smallest number free.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from recsmith.nn.packed import offsets_from, row_ids

Corpus = Callable[[int], tuple[Tensor, Tensor]]
"""Number of the round → the rows to count in, as `(tokens [token], offsets [row + 1])`, int64."""

_NEVER = 1 << 60


@dataclass(frozen=True)
class MergeRules:
    """Pairs to merge, best first, ready to be looked up."""

    first: int
    """Number that the first rule writes."""
    keys: Tensor
    """The pairs as single numbers, ascending, int64 `[rule]`."""
    ranks: Tensor
    """Place of each key's rule among the rules, int64 `[rule]`."""

    @classmethod
    def of(cls, pairs: Tensor, *, first: int) -> MergeRules:
        """From pairs int64 `[rule, 2]`; rows of -1 stand for no rule and may end the table."""
        pairs = pairs[pairs[:, 0] >= 0]
        keys, ranks = _keys(pairs[:, 0], pairs[:, 1], first + len(pairs)).sort()
        return cls(first, keys, ranks)

    def rank(self, left: Tensor, right: Tensor) -> Tensor:
        """Place of the rule that merges each pair, a huge number where there is none; int64 `[pair]`."""
        if not len(self.keys):
            return torch.full_like(left, _NEVER)
        wanted = _keys(left, right, self.first + len(self.keys))
        place = torch.searchsorted(self.keys, wanted).clamp(max=len(self.keys) - 1)
        return torch.where(self.keys[place] == wanted, self.ranks[place], _NEVER)


def segment(tokens: Tensor, offsets: Tensor, rules: MergeRules) -> tuple[Tensor, Tensor]:
    """Merge in every row the pair of the earliest rule, leftmost first, until no rule applies; the new rows, packed.

    The usual byte-pair encoding, in all rows at once: a pass applies one rule per row, so there are at most as many passes as a row
    has tokens.
    """
    rows = row_ids(offsets, tokens=len(tokens))
    while len(tokens) > 1:
        together = rows[1:] == rows[:-1]
        ranks = torch.where(together, rules.rank(tokens[:-1], tokens[1:]), _NEVER)
        best = torch.full((len(offsets) - 1,), _NEVER, device=tokens.device).scatter_reduce(0, rows[1:], ranks, "amin")
        merged = (ranks == best[rows[1:]]) & (ranks < _NEVER)
        if not merged.any():
            break
        merged = _without_overlaps(merged, ranks)
        written = torch.where(merged, rules.first + ranks, tokens[:-1])
        tokens = torch.cat([written, tokens[-1:]])
        kept = torch.cat([merged.new_ones(1), ~merged])
        tokens, rows = tokens[kept], rows[kept]
    return tokens, offsets_from(torch.bincount(rows, minlength=len(offsets) - 1))


def learn_merges(corpus: Corpus, *, first: int, merges: int, rounds: int) -> Tensor:
    """Rules int64 `[merges, 2]` for what stands next to each other most often; rows of -1 where the corpus gives no more.

    Each round segments the corpus by the rules so far and adds the most frequent pairs, an equal number per round; a pair must be
    seen at least twice. Ties go to the smaller numbers.
    """
    pairs = torch.zeros(0, 2, dtype=torch.int64)
    for number in range(rounds):
        wanted = (merges - len(pairs)) // (rounds - number)
        tokens, offsets = segment(*corpus(number), MergeRules.of(pairs, first=first))
        pairs = torch.cat([pairs, _most_frequent(tokens, offsets, wanted, size=first + len(pairs))])
    table = torch.full((merges, 2), -1)
    table[: len(pairs)] = pairs
    return table


def _most_frequent(tokens: Tensor, offsets: Tensor, count: int, *, size: int) -> Tensor:
    rows = row_ids(offsets, tokens=len(tokens))
    together = rows[1:] == rows[:-1]
    keys, seen = torch.unique(_keys(tokens[:-1][together], tokens[1:][together], size), return_counts=True)
    keys, seen = keys[seen > 1], seen[seen > 1]
    best = keys[seen.argsort(descending=True, stable=True)[:count]]
    return torch.stack([best // size, best % size], 1)


def _keys(left: Tensor, right: Tensor, size: int) -> Tensor:
    """One number per unordered pair of numbers below `size`."""
    return torch.minimum(left, right) * size + torch.maximum(left, right)


def _without_overlaps(merged: Tensor, ranks: Tensor) -> Tensor:
    """Of pairs of one rule that share a token (a, a, a), every other one, the leftmost first."""
    places = torch.arange(len(merged), device=merged.device)
    chained = torch.zeros_like(merged)
    chained[1:] = merged[1:] & merged[:-1] & (ranks[1:] == ranks[:-1])
    begin = torch.where(merged & ~chained, places, -1).cummax(0).values
    return merged & ((places - begin) % 2 == 0)
