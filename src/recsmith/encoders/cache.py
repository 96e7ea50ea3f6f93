"""`VectorCache`: vectors by content hash, one folder per encoder, in safetensors segments that are written once and never changed."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

log = logging.getLogger(__name__)

_Segment = tuple[np.ndarray, np.ndarray]
"""Keys `S32 [text]` and vectors float32 `[text, dim]`."""
_KEY = np.dtype("S32")
_MERGE_AT = 32
"""Segments that trigger a merge into one, so that many small runs do not leave many small files."""


def text_keys(texts: Sequence[str]) -> np.ndarray:
    """A content hash per text, 32 hexadecimal digits, `S32 [text]`."""
    return np.array([hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32] for text in texts], dtype=_KEY)


class VectorCache:
    """Vectors of one encoder on disk.

    Writing is atomic, and two processes that write at the same time both keep their work, since each writes a segment of its own. A
    damaged segment is removed with a warning and its texts are encoded anew; a cache that cannot be written is a warning too.
    """

    def __init__(self, folder: Path, encoder_name: str) -> None:
        slug = re.sub(r"[^A-Za-z0-9._-]+", "-", encoder_name)[:48].strip("-.")
        digest = hashlib.sha256(encoder_name.encode()).hexdigest()[:12]
        self.folder = Path(folder) / "vectors" / f"{slug}-{digest}"

    def find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of the distinct, sorted `keys` are known, bool `[key]`, and their vectors float32 `[known, dim]` in that order."""
        found = np.zeros(len(keys), dtype=bool)
        paths = sorted(self.folder.glob("*.safetensors")) if len(keys) else []
        segments = [segment for segment in map(_read, paths) if segment is not None]
        vectors = np.zeros((len(keys), segments[0][1].shape[1] if segments else 0), dtype=np.float32)
        for known, values in segments:
            position = np.minimum(np.searchsorted(keys, known), len(keys) - 1)
            hit = keys[position] == known
            vectors[position[hit]] = values[hit]
            found[position[hit]] = True
        if len(segments) >= _MERGE_AT:
            self._merge(segments, paths)
        return found, vectors[found]

    def add(self, keys: np.ndarray, vectors: np.ndarray) -> bool:
        """Store `vectors` float32 `[key, dim]` in a new segment; whether that could be done."""
        try:
            self._write(keys, vectors)
        except (OSError, SafetensorError) as error:
            log.warning("the vector cache %s cannot be written (%s); going on without it", self.folder, error)
            return False
        return True

    def _write(self, keys: np.ndarray, vectors: np.ndarray) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        raw = np.frombuffer(keys.tobytes(), dtype=np.uint8).reshape(-1, _KEY.itemsize)
        target = self.folder / f"{hashlib.sha256(raw.tobytes()).hexdigest()[:24]}.safetensors"
        handle, temporary = tempfile.mkstemp(dir=self.folder, suffix=".part")
        os.close(handle)
        try:
            tensors: dict[str, np.ndarray] = {"keys": raw, "vectors": np.ascontiguousarray(vectors, dtype=np.float32)}
            save_file(tensors, temporary, metadata={"sha256": _digest(tensors)})
            os.replace(temporary, target)
        finally:
            Path(temporary).unlink(missing_ok=True)
        return target

    def _merge(self, segments: list[_Segment], paths: list[Path]) -> None:
        keys, first = np.unique(np.concatenate([keys for keys, _ in segments]), return_index=True)
        try:
            target = self._write(keys, np.concatenate([vectors for _, vectors in segments])[first])
            for path in paths:
                if path != target:
                    path.unlink(missing_ok=True)
        except (OSError, SafetensorError) as error:
            log.warning("the vector cache %s cannot be tidied (%s); going on", self.folder, error)


def _read(path: Path) -> _Segment | None:
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in ("keys", "vectors")}
            intact = (file.metadata() or {}).get("sha256") == _digest(tensors)
    except (OSError, SafetensorError) as error:
        intact, reason = False, str(error)
    else:
        reason = "its checksum does not fit"
    if not intact:
        log.warning("the vector cache %s is damaged (%s); removed, its texts are encoded anew", path, reason)
        _remove(path)
        return None
    return tensors["keys"].view(_KEY).reshape(-1), tensors["vectors"]


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("the damaged file %s cannot be removed (%s)", path, error)


def _digest(tensors: dict[str, np.ndarray]) -> str:
    content = hashlib.sha256(str(tensors["vectors"].shape).encode())
    content.update(tensors["keys"].tobytes())
    content.update(np.ascontiguousarray(tensors["vectors"]).data)
    return content.hexdigest()
