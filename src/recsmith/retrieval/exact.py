"""`ExactIndex`: inner products with all vectors. Exact, no dependency, and fast enough up to some 30,000 items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from recsmith.artifacts import write_folder, write_json
from recsmith.decoding import top_k
from recsmith.errors import DataError
from recsmith.protocols import Limits, RankedLists
from recsmith.retrieval.index import INDEX, NO_LIMITS
from recsmith.retrieval.places import Places
from recsmith.retrieval.vectors import checked_vectors

_PACK_AT = 0.25
"""Share of dead places at which the vectors are packed."""
_CELLS = 1 << 25
"""Most scores held at a time."""


class ExactIndex:
    """Scores are inner products (cosines of unit vectors); equal scores go to the id that was added first."""

    def __init__(self, *, dim: int | None = None) -> None:
        """`dim` is taken from the first vectors when it is not given."""
        self._dim = dim
        self._places = Places()
        self._store = np.zeros((0, dim or 0), dtype=np.float32)

    def __len__(self) -> int:
        return len(self._places)

    @property
    def vectors(self) -> np.ndarray:
        """float32 `[place, dim]`."""
        return self._store[: len(self._places.ids)]

    def add(self, ids: Any, content: Any) -> None:
        """Vectors float32 `[id, dim]`; see `Index.add`. Raises `DataError` for vectors of another length."""
        vectors = checked_vectors(content, dim=self._dim, what="the vectors")
        if len(vectors) != np.size(ids):
            raise DataError(f"{np.size(ids)} ids came with {len(vectors)} vectors; give one vector per id")
        places = self._places.add(ids)
        self._dim = vectors.shape[1]
        self._grow(len(self._places.ids))
        self._store[places] = vectors

    def remove(self, ids: Any) -> None:
        """See `Index.remove`."""
        self._places.remove(ids)
        if self._places.dead_share > _PACK_AT:
            alive = self._places.alive
            self._store = self.vectors[alive]
            self._places = Places(self._places.ids[alive])

    def search(self, queries: Any, k: int, *, limits: Limits = NO_LIMITS) -> RankedLists:
        """Query vectors float32 `[query, dim]`; see `Index.search`."""
        queries = checked_vectors(queries, dim=self._dim, what="the queries")
        inner = self._places.limits(limits)
        size = max(1, _CELLS // max(1, len(self._places.ids)))
        parts = [self._search(queries[start : start + size], start, k, inner) for start in range(0, max(len(queries), 1), size)]
        lists = RankedLists(np.concatenate([part.items for part in parts]), np.concatenate([part.scores for part in parts]))
        return self._places.by_id(lists)

    def save(self, folder: Path) -> Path:
        """See `Index.save`."""
        with write_folder(Path(folder), INDEX) as draft:
            write_json(draft / "index.json", {"kind": "exact", "dim": self._dim})
            arrays = {"ids": self._places.ids, "alive": self._places.alive, "vectors": np.ascontiguousarray(self.vectors)}
            save_file(arrays, draft / "index.safetensors")
        return Path(folder)

    @classmethod
    def read(cls, folder: Path) -> ExactIndex:
        """From an opened folder; use `load_index`."""
        arrays = load_file(folder / "index.safetensors")
        index = cls(dim=arrays["vectors"].shape[1] or None)
        index._places = Places(arrays["ids"], arrays["alive"])
        index._store = arrays["vectors"]
        return index

    def _search(self, queries: np.ndarray, start: int, k: int, inner: Limits) -> RankedLists:
        exclude = None if inner.exclude is None else inner.exclude.slice(start, start + len(queries))
        stored = self.vectors if len(self._places.ids) else np.zeros((0, queries.shape[1]), dtype=np.float32)
        scores = torch.from_numpy(queries @ stored.T)
        return top_k(scores, k, limits=Limits(exclude=exclude, allowed=inner.allowed))

    def _grow(self, places: int) -> None:
        if places <= len(self._store):
            return
        larger = np.zeros((max(places, len(self._store) * 5 // 4), self._dim or 0), dtype=np.float32)
        if len(self._store):
            larger[: len(self._store)] = self._store
        self._store = larger
