"""`CodeTrie`: all semantic IDs of a catalogue as a prefix tree held in a handful of flat tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from recsmith.data import ItemCodes


@dataclass(frozen=True)
class CodeTrie:
    """A prefix tree in compressed rows. Leaves are the items in lexicographic order of their codes.

    Nodes of a depth are numbered in that order too, so the children of a node are consecutive nodes of the next depth and the
    leaves under a node are consecutive leaves: both need only where they begin. Depth 0 holds the root, depth `levels` the
    leaves. A million items of four codes take about 60 MB.
    """

    sizes: tuple[int, ...]
    """Number of codes at each level."""
    items: Tensor
    """Item index at each leaf, int64 `[leaf]`."""
    leaves_of: Tensor
    """Leaf of each item, int64 `[item]`."""
    codes: tuple[Tensor, ...]
    """Per depth, the last code of each node, int64 `[node]`; 0 for the root."""
    children: tuple[Tensor, ...]
    """Per depth but the last, the first child of each node, closed by the number of nodes of the next depth; int64 `[node + 1]`."""
    leaves: tuple[Tensor, ...]
    """Per depth, the first leaf of each node, closed by the number of leaves; int64 `[node + 1]`."""
    widest: tuple[int, ...]
    """Per depth but the last, the largest number of children of a node."""

    @classmethod
    def build(cls, codes: ItemCodes) -> CodeTrie:
        """The trie of a catalogue; raises `ValueError` when two items share all their codes."""
        order = _lexicographic_order(codes)
        table = codes.table[order]
        count = len(table)
        begins = np.zeros(count, dtype=bool)
        begins[:1] = True
        starts = [np.zeros(1, dtype=np.int64)]
        for level in range(codes.levels):
            begins[1:] |= table[1:, level] != table[:-1, level]
            starts.append(np.flatnonzero(begins))
        if len(starts[-1]) != count:
            raise ValueError(f"{count - len(starts[-1])} of {count} items share all codes with another; add a level that tells them apart")
        leaves = [np.append(start, count) for start in starts]
        children = [np.searchsorted(below, above) for above, below in zip(leaves[:-1], starts[1:])]
        node_codes = [np.zeros(1, dtype=np.int64), *(table[start, level] for level, start in enumerate(starts[1:]))]
        leaves_of = np.empty(count, dtype=np.int64)
        leaves_of[order] = np.arange(count)
        return cls(
            sizes=tuple(codes.sizes),
            items=torch.from_numpy(order),
            leaves_of=torch.from_numpy(leaves_of),
            codes=tuple(map(torch.from_numpy, node_codes)),
            children=tuple(map(torch.from_numpy, children)),
            leaves=tuple(map(torch.from_numpy, leaves)),
            widest=tuple(int(np.diff(child).max(initial=0)) for child in children),
        )

    def __len__(self) -> int:
        return len(self.items)

    @property
    def levels(self) -> int:
        """Number of codes per item."""
        return len(self.sizes)

    def nodes(self, depth: int) -> int:
        """Number of nodes at a depth."""
        return len(self.codes[depth])

    def ancestors(self, depth: int, leaves: Tensor) -> Tensor:
        """The node at `depth` above each of the given leaves, any shape."""
        return torch.searchsorted(self.leaves[depth], leaves, right=True) - 1

    def parents(self, depth: int) -> Tensor:
        """The node of `depth - 1` above each node of `depth`, int64 `[node]`."""
        return self.ancestors(depth - 1, self.leaves[depth][:-1])

    def to(self, device: torch.device | str) -> CodeTrie:
        """The same trie on another device (itself when it is there already)."""
        if self.items.device == torch.device(device):
            return self

        def move(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return tuple(tensor.to(device) for tensor in tensors)

        return replace(
            self,
            items=self.items.to(device),
            leaves_of=self.leaves_of.to(device),
            codes=move(self.codes),
            children=move(self.children),
            leaves=move(self.leaves),
        )


def _lexicographic_order(codes: ItemCodes) -> np.ndarray:
    """Item indices in lexicographic order of their codes; one integer key per item where 63 bits hold it."""
    bits = sum(np.log2(max(size, 1)) for size in codes.sizes)
    if bits > 62:
        return np.lexsort(codes.table.T[::-1])
    keys = np.zeros(len(codes), dtype=np.int64)
    for level, size in enumerate(codes.sizes):
        keys = keys * size + codes.table[:, level]
    return np.argsort(keys, kind="stable")
