"""`ResidualTokenizer`: what tokenizers with one codebook per level share — codes, collisions, new items, figures, state."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from recsmith.config import Config
from recsmith.data import ItemCodes
from recsmith.errors import ArtifactError, UserError
from recsmith.item_tokenizers.collisions import assign_new, spread_collisions, with_collision_level
from recsmith.item_tokenizers.figures import code_figures
from recsmith.item_tokenizers.vectors import checked_vectors
from recsmith.nn.quantizers import kmeans, residual_codes
from recsmith.protocols import Progress

_ITEMS_PER_CODE = 4
"""Fewest items per code of a level, on average; below, a prefix would name single items and teach nothing about its neighbours."""


class ResidualConfig(Config):
    """Settings that all residual tokenizers have."""

    levels: int = Field(3, ge=1, le=16)
    """Learned codes per item; the collision level comes on top."""
    size: int = Field(256, ge=1, le=65_536)
    """Codes per learned level; fewer when the catalogue has fewer than four items per code."""
    normalise: Literal["none", "unit"] = "none"
    """What happens to item vectors first: nothing, or scaling to length 1."""
    collisions: Literal["digit", "nearest"] = "digit"
    """Items with equal learned codes: all keep them and differ in the collision level, or all but one move to a free last-level code."""
    nearest_tries: int = Field(16, ge=1)
    """How many last-level codes `collisions = "nearest"` looks at, nearest first, before it leaves the matter to the collision level."""


class ResidualTokenizer(ABC):
    """Vectors → codes, where the codes of each level describe what the levels before left over.

    A subclass learns the codebooks (`_learn`) and says in which space they live (`_latent`). The rest is here: greedy codes, the
    collision level, codes for new items, figures, state.
    """

    Config: ClassVar[type[ResidualConfig]] = ResidualConfig

    def __init__(self, config: ResidualConfig | None = None) -> None:
        self.config: Any = self.Config() if config is None else config
        self._codebooks: list[Tensor] = []
        self._dim = 0
        self._turn: Tensor | None = None
        self._figures: dict[str, Any] = {}

    @abstractmethod
    def _learn(self, vectors: Tensor, sizes: Sequence[int], *, seed: int, progress: Progress | None) -> list[Tensor]:
        """Codebooks `[size, latent]`, one per level, learned from scratch on float32 `[item, dim]`."""

    @abstractmethod
    def _latent(self, vectors: Tensor) -> Tensor:
        """Vectors float32 `[item, dim]` in the space of the codebooks, `[item, latent]`."""

    @abstractmethod
    def _learned(self) -> dict[str, Tensor]:
        """What `_latent` needs, by name."""

    @abstractmethod
    def _restore(self, learned: Mapping[str, Tensor]) -> None:
        """The inverse of `_learned`."""

    def _more_figures(self, vectors: Tensor) -> dict[str, Any]:
        return {}

    def fit(self, vectors: np.ndarray, *, seed: int, progress: Progress | None = None) -> ItemCodes:
        """Learn the codebooks on float `[item, dim]` and return the codes of these items, all distinct.

        Raises `DataError` for vectors that are not finite or not a non-empty table.
        """
        started = time.perf_counter()
        self._turn = None
        x = self._prepared(vectors)
        sizes, notes = self._sizes(x)
        self._dim = x.shape[1]
        self._codebooks = [codebook.detach().cpu() for codebook in self._learn(x, sizes, seed=seed, progress=progress)]
        latent = self._latent(x)
        prefixes, residual = residual_codes(latent, self._codebooks)
        errors = residual.square().sum(1)
        learned = prefixes.numpy()
        if self.config.collisions == "nearest":
            learned = spread_collisions(learned, errors.numpy(), lambda row: self._neighbours(latent[row]))
        codes = with_collision_level(learned, sizes)
        self._figures = {
            "tokenizer": type(self).__name__,
            **code_figures(codes),
            "quantization_error": _share(errors.mean(), latent),
            "moved": float((learned != prefixes.numpy()).any(axis=1).mean()),
            **self._more_figures(x),
            "seed": seed,
            "seconds": round(time.perf_counter() - started, 2),
            "notes": notes,
        }
        return codes

    def assign(self, vectors: np.ndarray, *, taken: ItemCodes) -> ItemCodes:
        """Codes for new items `[item, dim]` without retraining, distinct from each other and from `taken`, with its sizes.

        An item whose prefix is full takes the nearest prefix that is not: another code at the last level, then at the one before, ….
        """
        self._require_fitted()
        sizes = tuple(map(len, self._codebooks))
        if taken.sizes[:-1] != sizes:
            raise UserError(f"codes taken have sizes {taken.sizes[:-1]}, this tokenizer's are {sizes}; pass the codes that it made")
        if len(vectors) == 0:
            return ItemCodes(np.zeros((0, taken.levels), dtype=np.int64), taken.sizes)
        latent = self._latent(self._prepared(vectors, dim=self._dim))
        prefixes, _ = residual_codes(latent, self._codebooks)
        return assign_new(prefixes.numpy(), taken, alternatives=lambda row: self._by_distance(latent[row]))

    def state(self) -> dict[str, np.ndarray]:
        """Codebooks `codebook.<level>` float32 `[size, latent]`, what leads to their space, and the figures (JSON, as bytes)."""
        self._require_fitted()
        tensors = {f"codebook.{level}": codebook for level, codebook in enumerate(self._codebooks)} | self._learned()
        if self._turn is not None:
            tensors["turn"] = self._turn
        state = {name: tensor.detach().cpu().numpy().copy() for name, tensor in tensors.items()}
        state["dim"] = np.array([self._dim], dtype=np.int64)
        state["figures"] = np.frombuffer(json.dumps(self._figures).encode(), dtype=np.uint8).copy()
        return state

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what `state` gave. Raises `ArtifactError` when something is missing."""
        names = [f"codebook.{level}" for level in range(self.config.levels)]
        missing = [name for name in (*names, "dim", "figures") if name not in state]
        if missing:
            raise ArtifactError(f"the tokenizer's state lacks {', '.join(f'`{name}`' for name in missing)}; fit it again")
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in state.items()}
        self._codebooks = [tensors.pop(name) for name in names]
        self._dim = int(tensors.pop("dim"))
        self._turn = tensors.pop("turn", None)
        self._figures = json.loads(bytes(tensors.pop("figures").tolist()))
        self._restore(tensors)

    def figures(self) -> dict[str, Any]:
        """Figures of the last fit: those of `code_figures`, and `quantization_error`, the share of the variance that the codes miss."""
        return dict(self._figures)

    def refit(self, vectors: np.ndarray, *, iterations: int = 10) -> None:
        """Move the codebooks to the vectors `[item, dim]` from where they are, level after level by k-means; codes keep their meaning.

        The space of the codebooks stays as it is (axes, networks). Raises `UserError` when there are fewer items than codes.
        """
        self._require_fitted()
        residual = self._latent(self._prepared(vectors, dim=self._dim))
        largest = max(map(len, self._codebooks))
        if len(residual) < largest:
            raise UserError(f"{len(residual)} items are too few for codebooks of {largest} codes; fit the recipe again")
        for level, codebook in enumerate(self._codebooks):
            used = codebook.any(0)  # the numbers of a product quantizer's part; all of them elsewhere
            moved = torch.zeros_like(codebook)
            moved[:, used], assignment = kmeans(residual[:, used], len(codebook), seed=0, iterations=iterations, start=codebook[:, used])
            residual = residual - moved[assignment]
            self._codebooks[level] = moved

    def turn(self, rotation: np.ndarray) -> None:
        """Multiply all vectors to come by `rotation` `[dim, dim]` first: for an encoder whose space is another than when it was fitted."""
        self._require_fitted()
        turned = torch.from_numpy(np.asarray(rotation, dtype=np.float32))
        self._turn = turned if self._turn is None else turned @ self._turn

    def renumber(self, orders: Sequence[np.ndarray]) -> None:
        """Code c of level l is `orders[l][c]` from now on; each order is a permutation int64 `[size]`."""
        self._require_fitted()
        self._codebooks = [codebook[np.argsort(order)] for codebook, order in zip(self._codebooks, orders, strict=True)]

    def errors(self, vectors: np.ndarray, prefixes: np.ndarray) -> np.ndarray:
        """Squared distance between vectors `[item, dim]` and what learned codes `[item, level]` stand for, float64 `[item]`.

        In the space of the codebooks, so that figures of different tokenizers do not compare.
        """
        self._require_fitted()
        if len(vectors) == 0:
            return np.zeros(0)
        residual = self._latent(self._prepared(vectors, dim=self._dim))
        for codebook, column in zip(self._codebooks, torch.from_numpy(prefixes).T, strict=True):
            residual = residual - codebook[column]
        return residual.double().square().sum(1).numpy()

    @classmethod
    def from_state(cls, config: ResidualConfig, state: Mapping[str, np.ndarray]) -> Self:
        """A fitted tokenizer."""
        tokenizer = cls(config)
        tokenizer.load_state(state)
        return tokenizer

    def _prepared(self, vectors: np.ndarray, *, dim: int | None = None) -> Tensor:
        x = torch.from_numpy(checked_vectors(vectors, dim=dim))
        x = x if self._turn is None else x @ self._turn
        return torch.nn.functional.normalize(x, dim=1) if self.config.normalise == "unit" else x

    def _sizes(self, vectors: Tensor) -> tuple[list[int], list[str]]:
        distinct = len({row.tobytes() for row in vectors.numpy()})
        size = min(self.config.size, distinct, max(2, len(vectors) // _ITEMS_PER_CODE))
        if size == self.config.size:
            return [size] * self.config.levels, []
        note = f"{size} codes per level instead of {self.config.size}: {len(vectors)} items, {distinct} of them distinct"
        return [size] * self.config.levels, [note]

    def _by_distance(self, latent: Tensor, level: int = 0) -> Iterator[tuple[int, ...]]:
        """All prefixes, the greedy one first, then those that differ at the last level, nearest first, then at the one before, …."""
        if level == len(self._codebooks):
            yield ()
            return
        codebook = self._codebooks[level]
        for code in (codebook - latent).square().sum(1).argsort(stable=True).tolist():
            for rest in self._by_distance(latent - codebook[code], level + 1):
                yield (code, *rest)

    def _neighbours(self, latent: Tensor) -> Iterator[tuple[int, ...]]:
        tries = min(self.config.nearest_tries, len(self._codebooks[-1]))
        return islice(self._by_distance(latent), tries)

    def _require_fitted(self) -> None:
        if not self._codebooks:
            raise UserError(f"this {type(self).__name__} has learned nothing yet; call fit or load_state first")


def _share(error: Tensor, x: Tensor) -> float:
    variance = (x - x.mean(0)).square().sum(1).mean()
    return float(error / variance) if variance > 0 else 0.0
