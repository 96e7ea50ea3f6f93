"""`ExactIndex`: inner products with all vectors. Exact, no dependency; large catalogues by the proven 8-bit scan of `decoding`."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from recsmith.artifacts import write_folder, write_json
from recsmith.decoding import Scan, faster_scan, top_k
from recsmith.errors import DataError
from recsmith.protocols import Limits, RankedLists
from recsmith.retrieval.index import INDEX, NO_LIMITS
from recsmith.retrieval.places import Places
from recsmith.retrieval.vectors import checked_vectors

_PACK_AT = 0.25
"""Share of dead places at which the vectors are packed."""
_CELLS = 1 << 25
"""Most scores held at a time."""
_SCAN_AT = 4
"""Search after the last change of vectors from which on a scan is worth its making."""


class ExactIndex:
    """Scores are inner products (cosines of unit vectors); equal scores go to the id that was added first.

    With many items, and where that is measured to be faster, an 8-bit copy of the vectors finds the candidates and the vectors themselves
    rank and prove them (`decoding.Scan`): the lists are the same, up to the rounding of float32 sums.
    """

    def __init__(self, *, dim: int | None = None) -> None:
        """`dim` is taken from the first vectors when it is not given."""
        self._dim = dim
        self._places = Places()
        self._store = np.zeros((0, dim or 0), dtype=np.float32)
        self._scan: Scan | None = None
        self._searches = 0
        self._scanning = Lock()

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
        self._forget_scan()

    def remove(self, ids: Any) -> None:
        """See `Index.remove`."""
        self._places.remove(ids)
        if self._places.dead_share > _PACK_AT:
            alive = self._places.alive
            self._store = self.vectors[alive]
            self._places = Places(self._places.ids[alive])
            self._forget_scan()

    def search(self, queries: Any, k: int, *, limits: Limits = NO_LIMITS) -> RankedLists:
        """Query vectors float32 `[query, dim]`; see `Index.search`."""
        queries = checked_vectors(queries, dim=self._dim, what="the queries")
        inner = self._places.limits(limits)
        size = max(1, _CELLS // max(1, len(self._places.ids)))
        parts = [self._search(queries[start : start + size], start, k, inner) for start in range(0, max(len(queries), 1), size)]
        return self._places.by_id(RankedLists.joined(parts))

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
        own = Limits(exclude=exclude, allowed=inner.allowed)
        with self._scanning:
            scan = self._scan_for(queries)
            if scan is not None:
                return scan.top_k(torch.from_numpy(queries), k, limits=own)
        return top_k(torch.from_numpy(queries @ stored.T), k, limits=own)

    def _scan_for(self, queries: np.ndarray) -> Scan | None:
        """A scan of the vectors as they are, tried once there are enough searches to pay for it."""
        self._searches += 1
        if self._searches == _SCAN_AT and len(queries):
            self._scan = faster_scan(torch.from_numpy(queries[:4]), torch.from_numpy(self.vectors), None)
        return self._scan

    def _forget_scan(self) -> None:
        self._scan, self._searches = None, 0

    def _grow(self, places: int) -> None:
        if places <= len(self._store):
            return
        larger = np.zeros((max(places, len(self._store) * 5 // 4), self._dim or 0), dtype=np.float32)
        if len(self._store):
            larger[: len(self._store)] = self._store
        self._store = larger
