"""Hashed TF-IDF: vectors from words and pieces of words with nothing but NumPy and SciPy. What `auto` falls back on."""

from __future__ import annotations

import hashlib
import math
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from recsmith.encoders.text import checked_texts
from recsmith.protocols import Progress
from recsmith.seeding import generator

_FEATURES = 1 << 15
_WORD = re.compile(r"\w+")
_CHARACTER_WEIGHT = 0.35
"""Of a piece of a word beside the word itself: enough that a plural or an unseen word finds its relatives."""
_OVERSAMPLING = 16
_POWER_ITERATIONS = 2


class TfidfEncoder:
    """Words, pairs of words and 3- to 5-letter pieces, hashed, weighted by TF-IDF, and reduced to `dim` numbers.

    The reduction is latent semantic analysis (Deerwester et al., 1990) by randomised SVD (Halko et al., 2011); where the texts have
    fewer directions than `dim`, seeded random directions (orthogonal to those found) fill up. Frequencies and directions come from
    `reference`, or else from the first texts encoded, and then stay. Deterministic.
    """

    def __init__(self, *, dim: int = 384, reference: Sequence[str] | None = None) -> None:
        self._dim = dim
        self._frequencies: np.ndarray | None = None
        self._directions: np.ndarray | None = None
        self._reference = ""
        if reference is not None:
            self._learn(checked_texts(reference))

    @property
    def name(self) -> str:
        """Version, size, and which texts the frequencies come from."""
        learned = f"frequencies of {self._reference}" if self._reference else "no frequencies yet"
        return f"hashed-tfidf-v1 (dim {self._dim}, {learned})"

    def encode(self, texts: Sequence[str], *, progress: Progress | None = None) -> np.ndarray:
        """Vectors float32 `[text, dim]` of length 1."""
        texts = checked_texts(texts)
        if not texts:
            return np.zeros((0, self._dim), dtype=np.float32)
        if self._directions is None:
            self._learn(texts)
        vectors = np.asarray(self._weighted(_counts(texts)) @ self._directions, dtype=np.float32)
        if progress is not None:
            progress("encoding texts", len(texts), len(texts))
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def _learn(self, texts: list[str]) -> None:
        counts = _counts(texts)
        seen_in = np.bincount(counts.indices, minlength=_FEATURES)
        self._frequencies = np.log((1 + len(texts)) / (1 + seen_in)).astype(np.float32) + 1
        self._directions = _directions(self._weighted(counts), self._dim)
        digest = hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()[:12]
        self._reference = f"{len(texts)} texts, sha256 {digest}"

    def _weighted(self, counts: Any) -> Any:
        from scipy import sparse  # here, so that serving starts without it

        assert self._frequencies is not None
        weighted = counts.copy()
        weighted.data *= self._frequencies[weighted.indices]
        lengths = np.sqrt(weighted.multiply(weighted).sum(axis=1)).reshape(-1)
        return sparse.diags_array(1 / np.asarray(lengths, dtype=np.float32)) @ weighted


def _counts(texts: Sequence[str]) -> Any:
    """Sparse weights before IDF, float32 `[text, feature]`; the hash is the same on every machine."""
    from scipy import sparse

    indices: list[int] = []
    data: list[float] = []
    offsets = [0]
    for text in texts:
        weights: dict[int, float] = {}
        for (kind, feature), count in Counter(_features(text.lower())).items():
            column = zlib.crc32(f"{kind}{feature}".encode("utf-8", "surrogatepass")) % _FEATURES
            weight = (1 + math.log(count)) * (_CHARACTER_WEIGHT if kind == "c" else 1)
            weights[column] = weights.get(column, 0.0) + weight
        indices.extend(weights)
        data.extend(weights.values())
        offsets.append(len(indices))
    return sparse.csr_array((np.array(data, dtype=np.float32), indices, offsets), shape=(len(texts), _FEATURES))


def _features(text: str) -> Iterator[tuple[str, str]]:
    yield "b", ""  # every text has this one, so that an empty text has a direction too
    words = _WORD.findall(text)
    for word in words:
        yield "w", word
        padded = f" {word} "
        for length in (3, 4, 5):
            for start in range(len(padded) - length + 1):
                yield "c", padded[start : start + length]
    for pair in pairwise(words):
        yield "p", " ".join(pair)


def _directions(matrix: Any, dim: int) -> np.ndarray:
    """Orthonormal columns float32 `[feature, dim]`: the main directions of `matrix` `[text, feature]`, then random ones."""
    random = generator(0, "tfidf")
    sketch = random.standard_normal((_FEATURES, min(dim + _OVERSAMPLING, matrix.shape[0])), dtype=np.float32)
    basis = np.linalg.qr(matrix @ sketch)[0]
    for _ in range(_POWER_ITERATIONS):
        basis = np.linalg.qr(matrix @ (matrix.T @ basis))[0]
    main = _main_directions(matrix.T @ basis, dim)
    if main.shape[1] == dim:
        return np.ascontiguousarray(main)
    rest = random.standard_normal((_FEATURES, dim - main.shape[1]), dtype=np.float32)
    rest = np.linalg.qr(rest - main @ (main.T @ rest))[0]
    return np.concatenate([main, rest], axis=1)


def _main_directions(spanning: np.ndarray, count: int) -> np.ndarray:
    """Orthonormal columns `[feature, at most count]` of the strongest directions of `spanning` `[feature, column]`, by its Gram matrix."""
    squares, rotation = np.linalg.eigh((spanning.T @ spanning).astype(np.float64))
    strengths = np.sqrt(np.maximum(squares[::-1][:count], 0))
    kept = strengths > 1e-3 * strengths[0]
    rotated = spanning @ rotation[:, ::-1][:, :count][:, kept].astype(np.float32)
    return np.ascontiguousarray(rotated / strengths[kept].astype(np.float32))
