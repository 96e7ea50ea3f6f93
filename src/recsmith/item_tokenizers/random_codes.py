"""`RandomCodes`: codes that say nothing about an item; the control that shows what the other tokenizers' codes are worth."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from recsmith.config import Config
from recsmith.data import ItemCodes
from recsmith.errors import ArtifactError, UserError
from recsmith.item_tokenizers.collisions import assign_new, with_collision_level
from recsmith.item_tokenizers.figures import code_figures
from recsmith.item_tokenizers.vectors import checked_vectors
from recsmith.protocols import Progress
from recsmith.seeding import derive_seed

_ITEMS_PER_CODE = 4


class RandomConfig(Config):
    """Settings of random codes."""

    levels: int = Field(3, ge=1, le=16)
    """Random codes per item; the collision level comes on top."""
    size: int = Field(256, ge=1, le=65_536)
    """Codes per random level; fewer when the catalogue has fewer than four items per code, as for the learned codes."""


class RandomCodes:
    """Random indexing (the baseline of Hua et al., 2023, "How to Index Item IDs for Recommendation Foundation Models").

    The codes are a keyed hash of the vector: the same on every machine, for new items too, and nothing needs to be stored. Deviation
    from Hua et al.: items with exactly equal vectors share their random codes and differ in the collision level.
    """

    Config: ClassVar[type[RandomConfig]] = RandomConfig

    def __init__(self, config: RandomConfig | None = None) -> None:
        self.config: Any = self.Config() if config is None else config
        self._seed, self._dim, self._size = 0, 0, 0
        self._figures: dict[str, Any] = {}

    def fit(self, vectors: np.ndarray, *, seed: int, progress: Progress | None = None) -> ItemCodes:
        """Codes of the items whose vectors are float `[item, dim]`, all distinct; raises `DataError` for bad vectors."""
        x = checked_vectors(vectors)
        self._seed, self._dim = seed, x.shape[1]
        self._size = min(self.config.size, max(2, len(x) // _ITEMS_PER_CODE))
        codes = with_collision_level(self._prefixes(x), [self._size] * self.config.levels)
        self._figures = {"tokenizer": type(self).__name__, **code_figures(codes), "seed": seed}
        return codes

    def assign(self, vectors: np.ndarray, *, taken: ItemCodes) -> ItemCodes:
        """Random codes for new items, distinct from each other and from `taken`, with its sizes."""
        self._require_fitted()
        sizes = (self._size,) * self.config.levels
        if taken.sizes[:-1] != sizes:
            raise UserError(f"codes taken have sizes {taken.sizes[:-1]}, this tokenizer's are {sizes}; pass the codes that it made")
        if len(vectors) == 0:
            return ItemCodes(np.zeros((0, taken.levels), dtype=np.int64), taken.sizes)
        prefixes = self._prefixes(checked_vectors(vectors, dim=self._dim))
        return assign_new(prefixes, taken, alternatives=lambda row: self._others(prefixes[row]))

    def state(self) -> dict[str, np.ndarray]:
        """Seed, length of the vectors, codes per level, and the figures (JSON, as bytes)."""
        self._require_fitted()
        return {
            "numbers": np.array([self._seed, self._dim, self._size], dtype=np.int64),
            "figures": np.frombuffer(json.dumps(self._figures).encode(), dtype=np.uint8).copy(),
        }

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what `state` gave. Raises `ArtifactError` when something is missing."""
        missing = [name for name in ("numbers", "figures") if name not in state]
        if missing:
            raise ArtifactError(f"the tokenizer's state lacks {', '.join(f'`{name}`' for name in missing)}; fit it again")
        self._seed, self._dim, self._size = map(int, state["numbers"])
        self._figures = json.loads(np.asarray(state["figures"]).tobytes())

    def figures(self) -> dict[str, Any]:
        """Figures of the last fit: those of `code_figures`."""
        return dict(self._figures)

    def _prefixes(self, x: np.ndarray) -> np.ndarray:
        return np.array([self._draw((row + 0.0).tobytes()) for row in x], dtype=np.int64)  # + 0.0 makes one zero of two

    def _others(self, prefix: np.ndarray) -> list[tuple[int, ...]]:
        """Where an item goes whose prefix is full: sixty-four further draws."""
        return [tuple(self._draw(prefix.tobytes() + bytes([attempt]))) for attempt in range(64)]

    def _draw(self, content: bytes) -> list[int]:
        key = derive_seed(self._seed, "random codes").to_bytes(8, "big")
        digest = hashlib.blake2b(content, key=key, digest_size=4 * self.config.levels).digest()
        return [int(number) % self._size for number in np.frombuffer(digest, dtype="<u4")]

    def _require_fitted(self) -> None:
        if self._size == 0:
            raise UserError(f"this {type(self).__name__} has learned nothing yet; call fit or load_state first")
