"""Limits and rules as marks on the nodes of a code trie: which lead to nothing, and how much an item below may still gain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from recsmith.decoding.limits import allowed_items, excluded_pairs
from recsmith.decoding.rules import BoundRules
from recsmith.decoding.trie import CodeTrie
from recsmith.protocols import Limits

Rules = BoundRules | Sequence[BoundRules] | None
"""Rules of a batch: the same for all rows, or one for each row."""


@dataclass(frozen=True)
class Marks:
    """What one set of rules says about every node, per depth."""

    alive: tuple[Tensor, ...] | None
    """Whether a node has an allowed leaf, bool `[node]`; None when all have."""
    before: Tensor | None
    """Number of allowed leaves before each leaf, int64 `[leaf + 1]`; None when all are allowed."""
    hope: tuple[Tensor, ...] | None
    """The largest bonus of an allowed leaf below a node, float32 `[node]`; None without bonuses."""

    @classmethod
    def build(cls, allowed: Tensor | None, bonus: np.ndarray | None, trie: CodeTrie) -> Marks:
        """From a mask and a bonus per item; three passes over the leaves."""
        alive, before, hope = None, None, None
        if allowed is not None:
            before = torch.nn.functional.pad(allowed[trie.items].cumsum(0), (1, 0))
            alive = tuple(before[starts[1:]] > before[starts[:-1]] for starts in trie.leaves)
        if bonus is not None:
            hope = _largest_below(bonus, alive, trie)
        return cls(alive, before, hope)


def _largest_below(bonus: np.ndarray, alive: tuple[Tensor, ...] | None, trie: CodeTrie) -> tuple[Tensor, ...]:
    leaves = bonus[trie.items.cpu().numpy()].astype(np.float32)
    if alive is not None:
        leaves = np.where(alive[-1].cpu().numpy(), leaves, np.float32(-np.inf))
    device = trie.items.device
    return tuple(torch.from_numpy(np.maximum.reduceat(leaves, starts[:-1].cpu().numpy())).to(device) for starts in trie.leaves)


_KEPT: WeakKeyDictionary[BoundRules, tuple[CodeTrie, Marks]] = WeakKeyDictionary()
"""Marks of rules that are used again and again, as a server does; they go when the rules go."""


def marks_of(rules: BoundRules | None, limits: Limits, trie: CodeTrie) -> Marks:
    """Marks of `limits.allowed` and the rules together."""
    if rules is not None and limits.allowed is None:
        kept = _KEPT.get(rules)
        if kept is None or kept[0] is not trie:
            kept = trie, _marks(rules, limits, trie)
            _KEPT[rules] = kept
        return kept[1]
    return _marks(rules, limits, trie)


def _marks(rules: BoundRules | None, limits: Limits, trie: CodeTrie) -> Marks:
    device = trie.items.device
    allowed = None if limits.allowed is None else allowed_items(limits, len(trie), device)
    if rules is not None:
        check_size(rules, len(trie))
        if rules.allowed is not None:
            own = torch.from_numpy(rules.allowed).to(device)
            allowed = own if allowed is None else allowed & own
    return Marks.build(allowed, None if rules is None else rules.bonus, trie)


def check_size(rules: BoundRules, items: int) -> None:
    """Raise `ValueError` when rules were bound to another catalogue."""
    if rules.size != items:
        raise ValueError(f"rules were bound to a catalogue of {rules.size} items, but this one has {items}; bind them again")


def distinct_rules(rules: Rules, rows: int) -> tuple[list[BoundRules | None], np.ndarray]:
    """The distinct rules of a batch, and which of them each row has, int64 `[row]`."""
    if rules is None or isinstance(rules, BoundRules):
        return [rules], np.zeros(rows, dtype=np.int64)
    if len(rules) != rows:
        raise ValueError(f"there are rules for {len(rules)} rows and a batch of {rows}")
    numbers: dict[int, int] = {}
    which = np.array([numbers.setdefault(id(rule), len(numbers)) for rule in rules], dtype=np.int64)
    first = {number: row for row, number in reversed(list(enumerate(which.tolist())))}
    return [rules[first[number]] for number in range(len(numbers))], which


@dataclass(frozen=True)
class SearchMask:
    """The marks of a batch: per set of rules (`alive`, `hope`), and per row (`dead`)."""

    which: Tensor | None
    """The set of rules of each row, int64 `[row]`; None when there is one for all."""
    alive: list[Tensor] | None
    """Per depth, bool `[set, node]`."""
    hope: list[Tensor] | None
    """Per depth, float32 `[set, node]`."""
    dead: list[tuple[Tensor, Tensor]]
    """Per depth, row and node `[pair]` whose allowed leaves are all excluded for that row."""

    @classmethod
    def build(cls, limits: Limits, rules: Rules, trie: CodeTrie, rows: int) -> SearchMask:
        """Raises `ValueError` when limits or rules do not fit the batch or the catalogue."""
        device = trie.items.device
        sets, numbers = distinct_rules(rules, rows)
        marks = [marks_of(rule, limits, trie) for rule in sets]
        which = None if len(sets) == 1 else torch.from_numpy(numbers).to(device)
        alive = _stacked([mark.alive for mark in marks], trie, torch.ones, torch.bool)
        hope = _stacked([mark.hope for mark in marks], trie, torch.zeros, torch.float32)
        if limits.exclude is None:
            return cls(which, alive, hope, [])
        row, item = excluded_pairs(limits.exclude, rows, len(trie), device)
        keys = (row * len(trie) + trie.leaves_of[item]).unique()
        row, leaf = keys // max(len(trie), 1), keys % max(len(trie), 1)
        befores = [mark.before for mark in marks]
        if alive is not None:
            counted = alive[-1][0 if which is None else which[row], leaf]
            row, leaf = row[counted], leaf[counted]
        return cls(which, alive, hope, [_exhausted(trie, depth, (row, leaf), befores, which) for depth in range(trie.levels + 1)])

    def apply(self, candidates: Tensor, trie: CodeTrie, level: int, nodes: Tensor, child: Tensor) -> None:
        """Set `candidates` `[batch, beam, child]` of dead children of `nodes` `[batch, beam]` to -inf, in place."""
        if self.alive is not None:
            candidates.masked_fill_(~self._of(self.alive[level + 1], child), -torch.inf)
        if not self.dead:
            return
        row, node = self.dead[level + 1]
        parent = trie.ancestors(level, trie.leaves[level + 1][node])
        pair, beam = (nodes[row] == parent[:, None]).nonzero(as_tuple=True)
        candidates[row[pair], beam, node[pair] - trie.children[level][parent[pair]]] = -torch.inf

    def take(self, rows: Tensor) -> SearchMask:
        """The mask of the given rows, which ascend."""
        dead = []
        for row, node in self.dead:
            place = torch.searchsorted(rows, row).clamp_(max=len(rows) - 1)
            there = rows[place] == row
            dead.append((place[there], node[there]))
        return SearchMask(None if self.which is None else self.which[rows], self.alive, self.hope, dead)

    def hopes(self, depth: int, nodes: Tensor) -> Tensor | None:
        """The largest bonus that an item below each of `nodes` `[batch, …]` of a depth may get."""
        return None if self.hope is None else self._of(self.hope[depth], nodes)

    def _of(self, marks: Tensor, nodes: Tensor) -> Tensor:
        if self.which is None:
            return marks[0][nodes]
        return marks[self.which.view(-1, *[1] * (nodes.dim() - 1)), nodes]


def _stacked(marks: list[tuple[Tensor, ...] | None], trie: CodeTrie, fill: object, dtype: torch.dtype) -> list[Tensor] | None:
    """Per depth, one row per set; sets without marks get those of no rules. None when no set has any."""
    if all(mark is None for mark in marks):
        return None
    neutral = torch.ones if fill is torch.ones else torch.zeros
    rows = []
    for depth in range(trie.levels + 1):
        empty = neutral(trie.nodes(depth), dtype=dtype, device=trie.items.device)
        rows.append(torch.stack([empty if mark is None else mark[depth] for mark in marks]))
    return rows


def _exhausted(
    trie: CodeTrie, depth: int, excluded: tuple[Tensor, Tensor], befores: list[Tensor | None], which: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Row and node `[pair]` at a depth that hold as many excluded leaves as allowed ones; `befores` count allowed leaves per set."""
    row, leaf = excluded
    nodes = max(trie.nodes(depth), 1)
    keys, counts = (row * nodes + trie.ancestors(depth, leaf)).unique(return_counts=True)
    row, node = keys // nodes, keys % nodes
    first, end = trie.leaves[depth][node], trie.leaves[depth][node + 1]
    allowed = end - first
    for number, before in enumerate(befores):
        if before is not None:
            here = before[end] - before[first]
            allowed = here if which is None else torch.where(which[row] == number, here, allowed)
    return row[counts == allowed], node[counts == allowed]
