"""`WordSearch`: BM25 over texts that do not change, as one sparse product: what models ground their own words with."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy import sparse

_WORD = re.compile(r"\w+")


class WordSearch:
    """Texts → scores of all texts of a collection (Robertson et al., 1995; idf as Lucene's), a `SearchScores` of `grounding_search`."""

    def __init__(self, texts: Sequence[str], *, k1: float = 1.2, b: float = 0.75) -> None:
        """`k1`: how soon repetitions of a word stop counting; `b`: how much long texts are held against (0 not at all)."""
        told = [Counter(_WORD.findall(text.casefold())) for text in texts]
        self._words = {word: number for number, word in enumerate(dict.fromkeys(word for words in told for word in words))}
        counts = self._matrix(told)
        lengths = np.asarray(counts.sum(axis=1)).ravel()
        with_word = np.bincount(counts.indices, minlength=len(self._words))
        idf = np.log1p((len(texts) - with_word + 0.5) / (with_word + 0.5))
        norm = k1 * (1 - b + b * lengths / max(float(lengths.mean()) if len(lengths) else 0.0, 1e-9))
        rows = np.repeat(np.arange(len(texts)), np.diff(counts.indptr))
        counts.data = idf[counts.indices] * (k1 + 1) * counts.data / (counts.data + norm[rows])
        self._weights = counts.T.tocsr()

    def __call__(self, queries: Sequence[str]) -> np.ndarray:
        """float32 `[query, text]`, 0 for texts that share no word with the query."""
        asked = self._matrix([Counter(word for word in _WORD.findall(query.casefold()) if word in self._words) for query in queries])
        return (asked @ self._weights).toarray().astype(np.float32)

    def _matrix(self, told: Sequence[Counter[str]]) -> sparse.csr_matrix:
        numbers = [self._words[word] for words in told for word in words]
        starts = np.cumsum([0, *(len(words) for words in told)])
        values = [float(count) for words in told for count in words.values()]
        return sparse.csr_matrix((values, numbers, starts), shape=(len(told), len(self._words)))
