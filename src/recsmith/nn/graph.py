"""The graph of people and items that training histories make, and propagation over it without weights (He et al., 2020: LightGCN).

Letters of the shapes: `row` = people of the graph, `item` = size of the catalogue, `edge` = distinct pairs of both.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import sparse
from scipy.sparse import linalg
from torch import Tensor, nn

from recsmith.nn.bags import distinct
from recsmith.nn.packed import offsets_from, row_ids

_DENSE = 1 << 20
"""Cells of a matrix up to which all its singular vectors are computed at once, which is then faster than asking for a few."""


class InteractionGraph(nn.Module):
    """Who had what, once per pair, saved with the weights. Empty until `set`; items beyond the graph's have no edges."""

    rows: Tensor
    """Person of each edge, int64 `[edge]`, ascending."""
    items: Tensor
    """Item of each edge, int64 `[edge]`."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("items", torch.zeros(0, dtype=torch.int64))
        self._sorted: tuple[Tensor, Tensor, Tensor] | None = None

    def set(self, items: Tensor, offsets: Tensor) -> None:
        """Take the edges from packed rows (row = person): `items` int64 `[token]`, `offsets` `[row + 1]`."""
        device = self.rows.device
        chosen, borders = distinct(items.to(device), offsets.to(device), size=int(items.max()) + 1 if len(items) else 1)
        self.items, self.rows = chosen, row_ids(borders, tokens=len(chosen))

    @property
    def people(self) -> int:
        """Rows that the graph needs, at least one."""
        return int(self.rows[-1]) + 1 if len(self.rows) else 1

    def by_item(self, items: int) -> tuple[Tensor, Tensor]:
        """The people of each of `items` items, packed int64 `[edge]`, and where each item's begin, int64 `[item + 1]`; sorted once."""
        if self._sorted is None or self._sorted[0] is not self.items or len(self._sorted[2]) != items + 1:
            offsets = offsets_from(torch.bincount(self.items, minlength=items))
            self._sorted = (self.items, self.rows[self.items.argsort(stable=True)], offsets)
        return self._sorted[1:]

    def degrees(self, items: int) -> Tensor:
        """People of each item, at least 1, float32 `[item]`."""
        return torch.bincount(self.items, minlength=items).clamp(min=1).float()

    def to_people(self, table: Tensor) -> Tensor:
        """`[item, dim]` → `[row, dim]`: sums over each person's items, divided by the roots of both degrees."""
        return torch.sparse.mm(self._matrix(len(table)), table)

    def steps(self, items: Tensor, people: Tensor, *, layers: int) -> Tensor:
        """The items after 0 … `layers` steps of propagation from `items` `[item, dim]` and `people` `[row, dim]`, `[step, item, dim]`."""
        found = [items]
        for _ in range(layers):
            following = self.to_items(people, len(items))
            people = self.to_people(found[-1])
            found.append(following)
        return torch.stack(found)

    def mean_of_items(self, table: Tensor) -> Tensor:
        """`[item, dim]` → the mean over each person's items, `[row, dim]`."""
        persons = torch.bincount(self.rows, minlength=self.people).clamp(min=1).float()
        return torch.sparse.mm(self._sparse(1 / persons[self.rows], len(table)), table)

    def to_items(self, table: Tensor, items: int) -> Tensor:
        """`[row, dim]` → `[item, dim]`, with the same weights."""
        return torch.sparse.mm(self._matrix(items).t(), table)

    def item_axes(self, items: int, *, dim: int, seed: int, normalised: bool = True) -> Tensor:
        """Items by the `dim` main right singular vectors of the 0/1 matrix `[row, item]`, times singular values; float32 `[item, dim]`.

        `normalised` divides each edge by the roots of both degrees first. Each vector's largest number is positive. Directions that do not
        exist (`dim` above either side of the matrix) are zero.
        """
        if normalised:
            matrix = self._matrix(items)
        else:
            matrix = self._sparse(torch.ones(len(self.items), device=self.items.device), items)
        (rows, columns), values = matrix.indices().cpu().numpy(), matrix.values().cpu().numpy()
        strengths, axes = _right_singular(sparse.csr_matrix((values, (rows, columns)), shape=matrix.shape), dim, seed)
        axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])] < 0, -1.0, 1.0)
        vectors = torch.zeros(items, dim)
        vectors[:, : axes.shape[1]] = torch.from_numpy(axes * strengths).float()
        return vectors.to(self.items.device)

    def _matrix(self, items: int) -> Tensor:
        """Normalised adjacency, sparse `[row, item]`."""
        persons = torch.bincount(self.rows, minlength=self.people).clamp(min=1).float()
        return self._sparse((persons[self.rows] * self.degrees(items)[self.items]).rsqrt(), items)

    def _sparse(self, values: Tensor, items: int) -> Tensor:
        index = torch.stack([self.rows, self.items])
        return torch.sparse_coo_tensor(index, values, (self.people, items), is_coalesced=True, check_invariants=False)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """How many edges there are is known only to the file: take its sizes before its values."""
        for name in ("rows", "items"):
            stored = state_dict.get(prefix + name)
            if stored is not None:
                setattr(self, name, getattr(self, name).new_zeros(stored.shape))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _right_singular(matrix: sparse.csr_matrix, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The `count` largest singular values, falling, and their right vectors `[column, count]`; fewer where the matrix is smaller."""
    smaller = min(matrix.shape)
    if matrix.shape[0] * matrix.shape[1] <= _DENSE or count >= smaller:
        _, strengths, right = np.linalg.svd(matrix.toarray(), full_matrices=False)
        return strengths[:count], right[:count].T
    start = np.random.default_rng(seed).standard_normal(smaller)
    _, strengths, right = linalg.svds(matrix.astype(np.float64), k=count, v0=start)
    order = np.argsort(-strengths)
    return strengths[order], right[order].T


def propagate_to_row(table: Tensor, items: Tensor, offsets: Tensor, degrees: Tensor) -> Tensor:
    """What a person with the packed `items` receives from `table` `[item, dim]`, `[batch, dim]`, whether or not the graph knows them."""
    rows = row_ids(offsets, tokens=len(items))
    weights = (offsets.diff().clamp(min=1).float()[rows] * degrees[items]).rsqrt()
    return table.new_zeros(len(offsets) - 1, table.shape[1]).index_add(0, rows, table[items] * weights[:, None])
