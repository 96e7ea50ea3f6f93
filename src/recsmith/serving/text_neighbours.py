"""`TextNeighbours`: which items' texts are most like a new one's, by the words that they share (TF-IDF and cosine; sparse, exact)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy import sparse

_WORD = re.compile(r"\w+")


class TextNeighbours:
    """Learned from the texts of the known items, in one pass over them."""

    def __init__(self, texts: Sequence[str]) -> None:
        counts = [Counter(_WORD.findall(text.lower())) for text in texts]
        self._columns: dict[str, int] = {}
        for words in counts:
            for word in words:
                self._columns.setdefault(word, len(self._columns))
        raw = self._matrix(counts)
        documents = np.bincount(raw.indices, minlength=raw.shape[1])
        self._rarity = np.log((1 + len(texts)) / (1 + documents)) + 1
        self._known = self._weighted(raw).T.tocsr()

    def nearest(self, texts: Sequence[str], count: int) -> tuple[np.ndarray, np.ndarray]:
        """For each text the `count` most similar known ones, best first, and their cosines; int64 and float32 `[text, count]`."""
        raw = self._matrix([Counter(_WORD.findall(text.lower())) for text in texts])
        similar = (self._weighted(raw) @ self._known).toarray()
        rows = np.argsort(-similar, axis=1, kind="stable")[:, :count]
        return rows, np.take_along_axis(similar, rows, axis=1).astype(np.float32)

    def _matrix(self, counts: Sequence[Counter[str]]) -> sparse.csr_matrix:
        """Counts of the known words, `[text, word]`."""
        known = [[(self._columns[word], number) for word, number in words.items() if word in self._columns] for words in counts]
        offsets = np.cumsum([0, *(len(words) for words in known)])
        columns = np.array([column for words in known for column, _ in words], dtype=np.int64)
        values = np.array([number for words in known for _, number in words], dtype=np.float64)
        return sparse.csr_matrix((values, columns, offsets), shape=(len(counts), len(self._columns)))

    def _weighted(self, raw: sparse.csr_matrix) -> sparse.csr_matrix:
        weighted = raw.copy()
        weighted.data = (1 + np.log(raw.data)) * self._rarity[raw.indices]
        lengths = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
        return sparse.diags_array(np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)).tocsr() @ weighted
