"""`HierarchicalKMeans`: a tree of clusters of clusters, each node cut into parts of equal size."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from recsmith.config import Config
from recsmith.data import ItemCodes
from recsmith.errors import ArtifactError, UserError
from recsmith.item_tokenizers.axes import principal_axes
from recsmith.item_tokenizers.collisions import assign_new, with_collision_level
from recsmith.item_tokenizers.figures import code_figures
from recsmith.item_tokenizers.vectors import checked_vectors
from recsmith.nn.balanced import balanced_kmeans, squared_distances
from recsmith.protocols import Progress
from recsmith.seeding import derive_seed


class HierarchicalConfig(Config):
    """Settings of balanced hierarchical k-means."""

    levels: int = Field(3, ge=1, le=16)
    """Depth of the tree; the collision level comes on top."""
    size: int = Field(0, ge=0, le=65_536)
    """Branches of a node; 0 takes just enough for as many leaves as there are different items, the `levels`-th root of their number."""
    iterations: int = Field(15, ge=1)
    """Most rounds of assigning and averaging per node; fewer when the assignment stops changing."""
    components: int = Field(64, ge=0)
    """Principal components that are clustered; 0 takes the vectors as they are."""


@dataclass(frozen=True)
class _Level:
    """The branches of all nodes of one level, laid end to end; node n has the branches `offsets[n]:offsets[n + 1]`.

    A branch's place is the number of its node on the level below.
    """

    offsets: Tensor
    """int64 `[node + 1]`."""
    centroids: Tensor
    """float32 `[branch, latent]`."""
    prices: Tensor
    """What is added to a branch's squared distance so that equally many items choose each; float32 `[branch]`."""

    def costs(self, latent: Tensor, node: int) -> Tensor:
        """Cost `[row, branch]` of each branch of one node for `latent` `[row, latent]`."""
        part = slice(int(self.offsets[node]), int(self.offsets[node + 1]))
        return squared_distances(latent, self.centroids[part]) + self.prices[part]


class HierarchicalKMeans:
    """Items → path in a tree of clusters (as Tay et al., 2022, "DSI"; balanced as in OneRec: Deng et al., 2025).

    Each node is cut by k-means into branches of equal numbers of items (identical items count once and stay together). The same code
    means something else under another parent, unlike residual codes. Deviations: balance comes from prices, an entropic transport
    problem's dual (Cuturi, 2013), so that new items follow the rule of the old ones; a fixed depth instead of splitting until small.
    """

    Config: ClassVar[type[HierarchicalConfig]] = HierarchicalConfig

    def __init__(self, config: HierarchicalConfig | None = None) -> None:
        self.config: Any = self.Config() if config is None else config
        self._tree: list[_Level] = []
        self._branches = 0
        self._figures: dict[str, Any] = {}

    def fit(self, vectors: np.ndarray, *, seed: int, progress: Progress | None = None) -> ItemCodes:
        """Grow the tree on float `[item, dim]` and return the codes of these items, all distinct; raises `DataError` for bad vectors."""
        x = torch.from_numpy(checked_vectors(vectors))
        self._mean, self._axes = principal_axes(x, self.config.components or x.shape[1])
        distinct, row = np.unique(x.numpy(), axis=0, return_inverse=True)
        latent = self._latent(torch.from_numpy(distinct))
        self._branches = self.config.size or max(2, _root(len(distinct), self.config.levels))
        self._tree, paths = [], []
        nodes = torch.zeros(len(latent), dtype=torch.int64)
        for level in range(self.config.levels):
            grown, branch = self._grow(latent, nodes, seed=derive_seed(seed, "hierarchical", level))
            paths.append(branch - grown.offsets[nodes])
            nodes = branch
            self._tree.append(grown)
            if progress is not None:
                progress("growing the tree", level + 1, self.config.levels)
        prefixes = torch.stack(paths, 1).numpy()[row.reshape(-1)]
        codes = with_collision_level(prefixes, [self._branches] * self.config.levels)
        first = np.bincount(paths[0].numpy())
        self._figures = {
            "tokenizer": type(self).__name__,
            **code_figures(codes),
            "largest_first_branch": int(first.max()),
            "smallest_first_branch": int(first.min()),
            "seed": seed,
        }
        return codes

    def assign(self, vectors: np.ndarray, *, taken: ItemCodes) -> ItemCodes:
        """Codes for new items `[item, dim]`, distinct from each other and from `taken`: down the tree by cost.

        An item whose leaf is full goes to the leaf that is next by cost at the last level, then at the one before, ….
        """
        self._require_fitted()
        sizes = (self._branches,) * self.config.levels
        if taken.sizes[:-1] != sizes:
            raise UserError(f"codes taken have sizes {taken.sizes[:-1]}, this tokenizer's are {sizes}; pass the codes that it made")
        if len(vectors) == 0:
            return ItemCodes(np.zeros((0, taken.levels), dtype=np.int64), taken.sizes)
        latent = self._latent(torch.from_numpy(checked_vectors(vectors, dim=len(self._mean))))
        return assign_new(self._paths(latent).numpy(), taken, alternatives=lambda row: self._by_cost(latent[row : row + 1]))

    def state(self) -> dict[str, np.ndarray]:
        """The tree (`offsets.<level>`, `centroids.<level>`, `prices.<level>`), the axes, the number of branches, and the figures."""
        self._require_fitted()
        tensors = {"mean": self._mean, "axes": self._axes}
        for depth, level in enumerate(self._tree):
            tensors |= {f"offsets.{depth}": level.offsets, f"centroids.{depth}": level.centroids, f"prices.{depth}": level.prices}
        state = {name: tensor.numpy().copy() for name, tensor in tensors.items()}
        state["branches"] = np.array([self._branches], dtype=np.int64)
        state["figures"] = np.frombuffer(json.dumps(self._figures).encode(), dtype=np.uint8).copy()
        return state

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what `state` gave. Raises `ArtifactError` when something is missing."""
        parts = [f"{part}.{depth}" for depth in range(self.config.levels) for part in ("offsets", "centroids", "prices")]
        missing = [name for name in ("mean", "axes", "branches", "figures", *parts) if name not in state]
        if missing:
            raise ArtifactError(f"the tokenizer's state lacks {', '.join(f'`{name}`' for name in missing)}; fit it again")
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in state.items()}
        self._mean, self._axes = tensors["mean"], tensors["axes"]
        self._branches = int(tensors["branches"])
        self._figures = json.loads(np.asarray(state["figures"]).tobytes())
        self._tree = [
            _Level(tensors[f"offsets.{depth}"], tensors[f"centroids.{depth}"], tensors[f"prices.{depth}"])
            for depth in range(self.config.levels)
        ]

    def figures(self) -> dict[str, Any]:
        """Figures of the last fit: those of `code_figures`, and the number of different items in the smallest and largest first branch."""
        return dict(self._figures)

    def _latent(self, vectors: Tensor) -> Tensor:
        return (vectors - self._mean) @ self._axes

    def _grow(self, latent: Tensor, nodes: Tensor, *, seed: int) -> tuple[_Level, Tensor]:
        """The branches of all `nodes` (node of each row, int64 `[row]`, every node in use), and the branch of each row."""
        order = nodes.argsort(stable=True)
        groups = order.split(torch.bincount(nodes).tolist())
        chosen = torch.empty_like(nodes)
        offsets, centroids, prices = [0], [], []
        for node, rows in enumerate(groups):
            count = min(self._branches, len(rows))
            centres, price, assignment = balanced_kmeans(
                latent[rows], count, seed=derive_seed(seed, node), iterations=self.config.iterations
            )
            chosen[rows] = offsets[-1] + assignment
            centroids.append(centres)
            prices.append(price)
            offsets.append(offsets[-1] + count)
        return _Level(torch.tensor(offsets), torch.cat(centroids), torch.cat(prices)), chosen

    def _paths(self, latent: Tensor) -> Tensor:
        nodes = torch.zeros(len(latent), dtype=torch.int64)
        path = torch.empty(len(latent), len(self._tree), dtype=torch.int64)
        for depth, level in enumerate(self._tree):
            for node in nodes.unique().tolist():
                rows = (nodes == node).nonzero().squeeze(1)
                path[rows, depth] = level.costs(latent[rows], node).argmin(1)
            nodes = level.offsets[nodes] + path[:, depth]
        return path

    def _by_cost(self, latent: Tensor, depth: int = 0, node: int = 0) -> Iterator[tuple[int, ...]]:
        """All paths below a node, cheapest branch first; codes that no branch has come last."""
        if depth == len(self._tree):
            yield ()
            return
        level = self._tree[depth]
        order = level.costs(latent, node)[0].argsort(stable=True).tolist()
        for branch in order:
            for rest in self._by_cost(latent, depth + 1, int(level.offsets[node]) + branch):
                yield (branch, *rest)
        free = [range(len(order), self._branches), *[range(self._branches)] * (len(self._tree) - depth - 1)]
        yield from itertools.product(*free)

    def _require_fitted(self) -> None:
        if not self._tree:
            raise UserError(f"this {type(self).__name__} has learned nothing yet; call fit or load_state first")


def _root(number: int, degree: int) -> int:
    """The least whole number whose power of `degree` reaches `number`."""
    root = round(number ** (1 / degree))
    return root if root**degree >= number else root + 1
