"""What every index promises, and how one is written and read: safetensors and JSON in a checked folder."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from recsmith.artifacts import FolderKind, open_folder, read_json
from recsmith.errors import ArtifactError
from recsmith.protocols import Limits, RankedLists

INDEX = FolderKind("index", version=1, migrations={})
NO_LIMITS = Limits()

_KINDS = {
    "exact": "recsmith.retrieval.exact:ExactIndex",
    "faiss": "recsmith.retrieval.faiss_index:FaissIndex",
    "bm25": "recsmith.retrieval.bm25:Bm25Index",
}


@runtime_checkable
class Index(Protocol):
    """Content by id (an int ≥ 0, usually the item number), searchable. Vectors for dense indexes, texts for sparse ones."""

    def __len__(self) -> int:
        """Ids that can be found."""
        ...

    def add(self, ids: np.ndarray, content: Any) -> None:
        """Add `content` (vectors float32 `[id, dim]` or texts) under new ids; raises `UserError` for an id that is there already."""
        ...

    def remove(self, ids: np.ndarray) -> None:
        """Take ids out; raises `UserError` for one that is not there."""
        ...

    def search(self, queries: Any, k: int, *, limits: Limits = NO_LIMITS) -> RankedLists:
        """The k best ids of each query, best first, within `limits` (by id); shorter lists end in -1.

        What is forbidden does not take the place of what is allowed: k ids come back wherever k are allowed and match.
        """
        ...

    def save(self, folder: Path) -> Path:
        """Write a folder that `load_index` reads. Raises `StorageError`."""
        ...


def load_index(folder: str | Path) -> Any:
    """The index that `save` wrote to `folder`. Raises `ArtifactError` when it is missing, damaged or from a version that cannot be read."""
    opened = open_folder(Path(folder), INDEX)
    kind = read_json(opened / "index.json").get("kind")
    if kind not in _KINDS:
        raise ArtifactError(f"`{folder}` is an index of kind {kind!r}; this recsmith reads {', '.join(_KINDS)}")
    module, _, name = _KINDS[kind].partition(":")
    return getattr(import_module(module), name).read(opened)
