"""The embedded ranker: candidates by the likeness of their texts to the history, with an encoder and without a language model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsmith.language.rankers.case import RankCase, Ranked, by_score
from recsmith.protocols import Encode


class EncoderRanker:
    """What answers where there is no language model: the cosine of a candidate with the fading mean of the history (and of the person's
    own words, which count as much as the latest event). A baseline of ours; works offline."""

    def __init__(self, encode: Encode, *, fade: float = 0.8) -> None:
        self._encode, self._fade = encode, fade

    def rank(self, cases: Sequence[RankCase]) -> Ranked:
        """Orders by cosine; a case about which nothing is known keeps the retriever's order."""
        texts = list(dict.fromkeys(text for case in cases for text in (*case.history, *case.candidates, case.request) if text))
        if not texts:
            return Ranked([list(range(len(case.candidates))) for case in cases], {})
        vectors = np.asarray(self._encode(texts), dtype=np.float32)
        row = {text: number for number, text in enumerate(texts)}
        return Ranked([self._one(case, vectors, row) for case in cases], {})

    def _one(self, case: RankCase, vectors: np.ndarray, row: dict[str, int]) -> list[int]:
        known = [text for text in [*case.history, case.request] if text]
        if not known:
            return list(range(len(case.candidates)))
        weights = self._fade ** np.arange(len(known))[::-1]
        person = weights @ vectors[[row[text] for text in known]]
        zero = np.zeros_like(person)
        return by_score([float((vectors[row[text]] if text else zero) @ person) for text in case.candidates])
