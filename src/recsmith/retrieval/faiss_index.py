"""`FaissIndex`: approximate search by FAISS (Douze et al., 2024), with filters inside the search and ids that come and go."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field
from safetensors.numpy import load_file, save_file

from recsmith.artifacts import read_json, write_folder, write_json
from recsmith.config import Config
from recsmith.errors import DataError, UserError, import_extra
from recsmith.protocols import Limits, RankedLists
from recsmith.retrieval.index import INDEX, NO_LIMITS
from recsmith.retrieval.places import Places
from recsmith.retrieval.vectors import checked_vectors

_PACK_AT = 0.25
"""Share of dead places at which the index is built anew."""
_SELECTIVE = 4096
"""With fewer allowed places than this (or than `_SELECTIVE_SHARE` of all) they are compared one by one: a graph would get lost."""
_SELECTIVE_SHARE = 0.02


class FaissConfig(Config):
    """Which structure, and how hard it searches."""

    kind: Literal["flat", "ivf", "hnsw"] = "ivf"
    """flat: exact; ivf: cells of a k-means, quick to build; hnsw: a graph of neighbours (Malkov and Yashunin, 2018), quickest to ask."""
    cells: int | None = Field(None, ge=1)
    """ivf: number of cells; none: the square root of the number of vectors first added."""
    probes: int = Field(32, ge=1)
    """ivf: cells looked at per query."""
    links: int = Field(32, ge=2)
    """hnsw: neighbours per node of the graph."""
    build_effort: int = Field(100, ge=1)
    """hnsw: candidates held while a node is linked."""
    search_effort: int = Field(256, ge=1)
    """hnsw: candidates held per query; at least k is used."""
    seed: int = 0
    """ivf: seed of the k-means."""


class FaissIndex:
    """Scores are inner products; give unit vectors for cosines.

    Limits act inside the search (FAISS selectors), so k ids come back wherever k are allowed; where few are allowed they are compared one
    by one. Removed ids are skipped and leave the structure when a quarter of it is dead. ivf learns its cells from the first vectors added.
    """

    def __init__(self, config: FaissConfig | None = None) -> None:
        self.config = config or FaissConfig()
        self._faiss: Any = import_extra("faiss", extra="retrieval", purpose="`FaissIndex`")
        self._places = Places()
        self._index: Any = None

    def __len__(self) -> int:
        return len(self._places)

    @property
    def dim(self) -> int | None:
        """Length of the vectors; None before the first."""
        return None if self._index is None else int(self._index.d)

    def add(self, ids: Any, content: Any) -> None:
        """Vectors float32 `[id, dim]`; see `Index.add`. Raises `DataError` for vectors of another length."""
        vectors = checked_vectors(content, dim=self.dim, what="the vectors")
        if len(vectors) != np.size(ids):
            raise DataError(f"{np.size(ids)} ids came with {len(vectors)} vectors; give one vector per id")
        self._places.add(ids)
        if not len(vectors):
            return
        if self._index is None:
            self._index = self._made(vectors)
        self._index.add(vectors)

    def remove(self, ids: Any) -> None:
        """See `Index.remove`."""
        self._places.remove(ids)
        if self._places.dead_share <= _PACK_AT:
            return
        alive = np.flatnonzero(self._places.alive)
        kept = self._vectors(alive)
        self._places = Places(self._places.ids[alive])
        self._index = None
        if len(kept):
            self._index = self._made(kept)
            self._index.add(kept)

    def search(self, queries: Any, k: int, *, limits: Limits = NO_LIMITS) -> RankedLists:
        """Query vectors float32 `[query, dim]`; see `Index.search`."""
        if k < 1:
            raise UserError(f"k = {k} ids cannot be answered; ask for at least 1")
        queries = checked_vectors(queries, dim=self.dim, what="the queries")
        opened = self._places.open_places(limits.allowed)
        excluded = self._places.limits(limits).exclude if limits.exclude is not None else None
        spare = 0 if excluded is None or not len(excluded) else int(excluded.lengths.max())
        wanted = min(k + spare, len(self._places.ids))
        if wanted == 0 or not len(queries):
            return _padded(np.zeros((len(queries), 0), dtype=np.int64), np.zeros((len(queries), 0), dtype=np.float32), k)
        scores, places = self._found(queries, wanted, opened)
        places = places.astype(np.int64)
        if excluded is not None:
            for row in range(len(queries)):
                places[row, np.isin(places[row], excluded.row(row))] = -1
        order = np.argsort(places < 0, axis=1, kind="stable")[:, :k]
        lists = _padded(np.take_along_axis(places, order, 1), np.take_along_axis(scores, order, 1), k)
        return self._places.by_id(lists)

    def save(self, folder: Path) -> Path:
        """See `Index.save`; the structure itself is in FAISS's own binary format."""
        with write_folder(Path(folder), INDEX) as draft:
            write_json(
                draft / "index.json", {"kind": "faiss", "config": self.config.model_dump(mode="json"), "faiss": self._faiss.__version__}
            )
            save_file({"ids": self._places.ids, "alive": self._places.alive}, draft / "index.safetensors")
            if self._index is not None:
                self._faiss.write_index(self._index, str(draft / "structure.faiss"))
        return Path(folder)

    @classmethod
    def read(cls, folder: Path) -> FaissIndex:
        """From an opened folder; use `load_index`."""
        index = cls(FaissConfig.parse(read_json(folder / "index.json")["config"]))
        arrays = load_file(folder / "index.safetensors")
        index._places = Places(arrays["ids"], arrays["alive"])
        if (folder / "structure.faiss").exists():
            index._index = index._faiss.read_index(str(folder / "structure.faiss"))
        return index

    def _made(self, vectors: np.ndarray) -> Any:
        """The empty structure, trained where it needs to be."""
        faiss, config, dim = self._faiss, self.config, vectors.shape[1]
        metric = faiss.METRIC_INNER_PRODUCT
        if config.kind == "flat":
            return faiss.IndexFlat(dim, metric)
        if config.kind == "hnsw":
            index = faiss.IndexHNSWFlat(dim, config.links, metric)
            index.hnsw.efConstruction = config.build_effort
            return index
        cells = min(config.cells or max(1, round(len(vectors) ** 0.5)), len(vectors))
        index = faiss.IndexIVFFlat(faiss.IndexFlat(dim, metric), dim, cells, metric)
        index.cp.seed, index.cp.min_points_per_centroid = config.seed, 1
        index.train(vectors)
        index.set_direct_map_type(faiss.DirectMap.Array)
        return index

    def _found(self, queries: np.ndarray, wanted: int, opened: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scores and places, `[query, wanted]`; place -1 with score -inf where nothing more is open."""
        count = int(opened.sum())
        if count < max(_SELECTIVE, wanted, _SELECTIVE_SHARE * len(opened)):
            return self._one_by_one(queries, wanted, np.flatnonzero(opened))
        selector = None if count == len(opened) else self._faiss.IDSelectorBitmap(np.packbits(opened, bitorder="little"))
        scores, places = self._index.search(queries, wanted, params=self._parameters(selector, wanted))
        return np.where(places < 0, -np.inf, scores).astype(np.float32), places

    def _parameters(self, selector: Any, wanted: int) -> Any:
        faiss, config = self._faiss, self.config
        chosen = {} if selector is None else {"sel": selector}
        if config.kind == "flat":
            return faiss.SearchParameters(**chosen)
        if config.kind == "ivf":
            return faiss.SearchParametersIVF(nprobe=config.probes, **chosen)
        return faiss.SearchParametersHNSW(efSearch=max(config.search_effort, wanted), **chosen)

    def _one_by_one(self, queries: np.ndarray, wanted: int, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scores = queries @ self._vectors(places).T if len(places) else np.zeros((len(queries), 0), dtype=np.float32)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :wanted]
        return np.take_along_axis(scores, order, 1), places[order] if len(places) else order

    def _vectors(self, places: np.ndarray) -> np.ndarray:
        """float32 `[place, dim]`, as they were added."""
        if self._index is None or not len(places):
            return np.zeros((0, self.dim or 0), dtype=np.float32)
        return self._index.reconstruct_batch(places)


def _padded(places: np.ndarray, scores: np.ndarray, k: int) -> RankedLists:
    items = np.full((len(places), k), -1, dtype=np.int64)
    values = np.full((len(places), k), -np.inf, dtype=np.float32)
    items[:, : places.shape[1]] = places
    values[:, : places.shape[1]] = np.where(places < 0, -np.inf, scores)
    return RankedLists(items, values)
