"""`EmbeddingMatcher`: the item whose text means the same, by the cosine of vectors; the last resort of a cascade."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsmith.decoding.grounding import Matches
from recsmith.decoding.grounding_titles import read_title, years_agree
from recsmith.errors import UserError
from recsmith.protocols import Encode

_CHUNK = 1024


class EmbeddingMatcher:
    """The nearest item vector, from a cosine of `threshold` on and ahead of the second by `margin`.

    `encode` embeds titles into the space of `vectors` `[item, dim]`, with the prompt of queries where the encoder has one. With `titles`
    given, years and numbers must agree as in the other matchers, because sentence encoders hardly see them.
    """

    name = "embedding"

    def __init__(
        self,
        vectors: np.ndarray,
        encode: Encode,
        *,
        titles: Sequence[str | None] | None = None,
        threshold: float = 0.85,
        margin: float = 0.02,
    ) -> None:
        if titles is not None and len(titles) != len(vectors):
            raise UserError(f"{len(vectors)} item vectors have {len(titles)} titles; give one title per vector")
        self._vectors = _unit(np.asarray(vectors, dtype=np.float32))
        self._encode = encode
        self._titles = None if titles is None else [read_title(title or "") for title in titles]
        self._threshold, self._margin = threshold, margin

    def match(self, titles: Sequence[str], *, allowed: np.ndarray | None = None) -> Matches:
        """The nearest item of each title, or -1."""
        matches = Matches.none(len(titles))
        for start in range(0, len(titles), _CHUNK):
            part = list(titles[start : start + _CHUNK])
            cosines = _unit(np.asarray(self._encode(part), dtype=np.float32)) @ self._vectors.T
            if allowed is not None:
                cosines[:, ~allowed] = -1
            best = cosines.argmax(axis=1)
            rows = np.arange(len(part))
            top = cosines[rows, best].copy()
            cosines[rows, best] = -1
            sure = (top >= self._threshold) & (top - cosines.max(axis=1) >= self._margin)
            sure &= np.array([self._agrees(text, item) for text, item in zip(part, best, strict=True)], dtype=bool)
            matches.items[start : start + len(part)] = np.where(sure, best, -1)
            matches.scores[start : start + len(part)] = np.where(sure, np.clip(top, 0, 1), 0)
        return matches

    def _agrees(self, text: str, item: int) -> bool:
        if self._titles is None:
            return True
        given, known = read_title(text), self._titles[item]
        return given.numbers == known.numbers and years_agree(given.year, known.year)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
