"""Demonstrations by similarity: the solved examples that are most like the case at hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsmith.errors import UserError
from recsmith.protocols import Encode


class Demonstrations:
    """Solved examples (what was given, what was right), chosen by the cosine of their vectors."""

    def __init__(self, given: Sequence[str], answers: Sequence[str], encode: Encode) -> None:
        if len(given) != len(answers):
            raise UserError(f"{len(given)} examples have {len(answers)} answers; give one answer per example")
        self.given, self.answers = list(given), list(answers)
        self._encode = encode
        self._vectors = _unit(encode(self.given)) if given else np.zeros((0, 1), dtype=np.float32)

    def __len__(self) -> int:
        return len(self.given)

    def choose(self, queries: Sequence[str], k: int, *, without: Sequence[int] | None = None) -> np.ndarray:
        """Positions of the k most similar examples of each query, int64 `[query, ≤ k]`, the most similar *last*, next to the question.

        `without` names one example per query that must not be shown (its own), -1 for none. Equal similarities go to the smaller
        position.
        """
        if k < 0:
            raise UserError(f"k = {k} examples cannot be shown; allowed: 0 to {len(self)}")
        own = np.full(len(queries), -1) if without is None else np.asarray(without)
        size = min(k, max(0, len(self) - int((own >= 0).any())))
        if size == 0 or not len(queries):
            return np.zeros((len(queries), 0), dtype=np.int64)
        scores = _unit(self._encode(list(queries))) @ self._vectors.T
        named = np.flatnonzero(own >= 0)
        scores[named, own[named]] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, :size]
        return order[:, ::-1].astype(np.int64)

    def texts(self, positions: Sequence[int]) -> list[str]:
        """The examples as `given → answer`, for a list field of a template."""
        return [f"{self.given[position]} → {self.answers[position]}" for position in positions]


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
