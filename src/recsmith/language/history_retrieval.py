"""Which events of a long history a prompt tells: those that mean something for what is asked, in the place of the latest ones.

Semantic user behaviour retrieval: Lin, Shan, Zhu et al., "ReLLa: retrieval-enhanced large language models for lifelong sequential behavior
comprehension in recommendation", WWW 2024 (arXiv:2308.11131). Deviation: vectors come from any encoder of texts, the paper's from the
language model's own hidden states after a principal component analysis.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsmith.protocols import Encode


def nearest_events(history: np.ndarray, targets: np.ndarray, count: int, *, latest: int = 0) -> list[int]:
    """Places of `count` events, ascending: the `latest` ones, and those most similar to any target.

    `history` is float32 `[event, dim]`, `targets` `[target, dim]`; similarity is the cosine, equal ones go to the later event.
    """
    size = len(history)
    if size <= count:
        return list(range(size))
    kept = list(range(size - min(latest, count), size))
    likeness = (_unit(history) @ _unit(targets).T).max(axis=1, initial=-1.0) if len(targets) else np.zeros(size)
    order = np.lexsort((-np.arange(size), -likeness))
    more = [int(place) for place in order if place < size - len(kept)][: count - len(kept)]
    return sorted([*more, *kept])


class EventRetriever:
    """Finds the events of histories in words; every text is encoded once."""

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self._known: dict[str, np.ndarray] = {}

    def learn_words(self, texts: Sequence[str]) -> None:
        """Encode what is new among the texts, all in one call."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known.update(zip(new, np.asarray(self._encode(new), dtype=np.float32), strict=True))

    def find(self, history: Sequence[str], targets: Sequence[str], count: int, *, latest: int = 0) -> list[int]:
        """As `nearest_events`, for texts."""
        self.learn_words([*history, *targets])
        if len(history) <= count:
            return list(range(len(history)))
        rows = np.stack([self._known[text] for text in history])
        wanted = np.stack([self._known[text] for text in targets]) if targets else np.zeros((0, rows.shape[1]), dtype=np.float32)
        return nearest_events(rows, wanted, count, latest=latest)


def _unit(vectors: np.ndarray) -> np.ndarray:
    unit: np.ndarray = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return unit
