"""Any sentence-transformers model, by hub name or local folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from recsmith.encoders.batches import Batch, in_order
from recsmith.encoders.text import checked_texts
from recsmith.errors import UserError, import_extra
from recsmith.protocols import Progress
from recsmith.runtime import Precision, Runtime


class HubEncoder:
    """A sentence-transformers model. A folder is known by the hash of its files, a hub model by name and commit.

    A name that is no folder is looked up in the local hub cache and then on the hub; `HF_HUB_OFFLINE=1` keeps it from the network.
    """

    def __init__(self, source: str, *, precision: Precision = "auto", batch_size: int = 32) -> None:
        self._source = source
        self._runtime = Runtime.choose(precision=precision)
        self._batch_size = batch_size

    @cached_property
    def name(self) -> str:
        """Source, commit or hash of the files, number type."""
        number_type = "bf16" if "bfloat16" in str(self._runtime.compute_dtype) else "fp32"
        folder = Path(self._source)
        identity = f"files sha256 {folder_hash(folder)[:12]}" if folder.is_dir() else f"commit {self._commit()}"
        return f"sentence-transformers {self._source} ({identity}, {number_type})"

    def encode(self, texts: Sequence[str], *, progress: Progress | None = None) -> np.ndarray:
        """Vectors float32 `[text, dim]` of length 1."""
        texts = checked_texts(texts)
        return in_order(self.batches(texts), len(texts), dim=0 if texts else self._dim(), progress=progress)

    def batches(self, texts: Sequence[str]) -> Iterator[Batch]:
        """See `BatchedEncoder.batches`; short texts first."""
        import torch

        texts = checked_texts(texts)
        order = np.argsort([len(text) for text in texts], kind="stable")
        device, dtype = self._runtime.device.type, self._runtime.compute_dtype
        for start in range(0, len(order), self._batch_size):
            rows = order[start : start + self._batch_size]
            with torch.inference_mode(), torch.autocast(device, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
                vectors = self._batch([texts[row] for row in rows])
            yield rows, vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

    def _batch(self, texts: list[str]) -> np.ndarray:
        tensor = self._model.encode(texts, batch_size=len(texts), convert_to_tensor=True, show_progress_bar=False)
        return tensor.float().cpu().numpy()

    def _dim(self) -> int:
        return self._batch([""]).shape[1]

    def _commit(self) -> str:
        backbone = getattr(self._model[0], "auto_model", None)
        return str(getattr(getattr(backbone, "config", None), "_commit_hash", None) or "unknown")[:12]

    @cached_property
    def _model(self) -> Any:
        library = import_extra("sentence_transformers", extra="hub", purpose=f"the encoder `{self._source}`")
        try:
            return library.SentenceTransformer(self._source, device=str(self._runtime.device))
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"encoder `{self._source}` cannot be loaded ({reason}); allowed: auto, minilm, tfidf, a folder with a "
                "sentence-transformers model, or a name on the Hugging Face hub"
            ) from error


def folder_hash(folder: Path) -> str:
    """SHA-256 over names and contents of the files that make a model."""
    content = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in {".safetensors", ".json", ".txt", ".bin", ".model"}:
            with open(path, "rb") as file:
                content.update(f"{path.relative_to(folder)} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return content.hexdigest()
