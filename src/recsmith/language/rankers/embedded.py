"""The embedded ranker: candidates by the likeness of their texts to the history, with an encoder and without a language model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from recsmith.language.rankers.case import RankCase, Ranked, by_score
from recsmith.protocols import Encode


class EncoderRanker:
    """What answers where there is no language model: the cosine of a candidate with the fading mean of the history (and of the person's
    own words, which count as much as the latest event). A baseline of ours; works offline."""

    def __init__(self, encode: Encode, *, encode_queries: Encode | None = None, fade: float = 0.8) -> None:
        """`encode_queries` encodes the requests; None: as the items."""
        self._encode, self._encode_queries, self._fade = encode, encode_queries or encode, fade

    def rank(self, cases: Sequence[RankCase]) -> Ranked:
        """Orders by cosine; a case about which nothing is known keeps the retriever's order."""
        items = _vectors_by_text((text for case in cases for text in (*case.history, *case.candidates)), self._encode)
        requests = _vectors_by_text((case.request for case in cases), self._encode_queries)
        return Ranked([self._one(case, items, requests) for case in cases], {})

    def _one(self, case: RankCase, items: dict[str, np.ndarray], requests: dict[str, np.ndarray]) -> list[int]:
        known = [items[text] for text in case.history if text] + [requests[text] for text in [case.request] if text]
        if not known:
            return list(range(len(case.candidates)))
        person = self._fade ** np.arange(len(known))[::-1] @ np.stack(known)
        zero = np.zeros_like(person)
        return by_score([float((items[text] if text else zero) @ person) for text in case.candidates])


def _vectors_by_text(texts: Iterable[str], encode: Encode) -> dict[str, np.ndarray]:
    """float32 `[dim]` of each text that says something, all encoded in one call."""
    told = list(dict.fromkeys(text for text in texts if text))
    return dict(zip(told, np.asarray(encode(told), dtype=np.float32), strict=True)) if told else {}
