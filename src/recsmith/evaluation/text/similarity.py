"""Likeness of meaning by vectors: whole texts by cosine, and words matched greedily as in BERTScore (Zhang et al. 2020)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from recsmith.errors import DataError
from recsmith.evaluation.text.words import check_pairs, words_of
from recsmith.protocols import Encode

EncodeTokens = Callable[[list[str]], list[tuple[list[str], np.ndarray]]]
"""Texts → tokens of each text and their vectors, float `[token, dim]`."""


def sentence_similarity(candidates: Sequence[str], references: Sequence[str], encode: Encode) -> np.ndarray:
    """Cosine of the vectors of each text and its reference, float64 `[text]`; 0 for zero vectors."""
    check_pairs(candidates, references)
    vectors = _units(np.asarray(encode([*candidates, *references]), dtype=np.float64))
    return np.einsum("td,td->t", vectors[: len(candidates)], vectors[len(candidates) :])


def token_similarity(
    candidates: Sequence[str], references: Sequence[str], encode: EncodeTokens, *, weigh: bool = True
) -> dict[str, np.ndarray]:
    """`precision`, `recall` and `f1` of greedy matching, float64 `[text]`: each token with its most similar one on the other side.

    `weigh` counts rare tokens more, by inverse document frequency over the references. With a contextual token encoder this is
    BERTScore without its rescaling; with `word_encoder`, vectors know no context. Texts without a token give 0.
    """
    check_pairs(candidates, references)
    encoded = encode([*candidates, *references])
    if len(encoded) != 2 * len(candidates):
        raise DataError(f"{2 * len(candidates)} texts were encoded into {len(encoded)}; give tokens and vectors for each text")
    ours, theirs = encoded[: len(candidates)], encoded[len(candidates) :]
    rarity = _rarity([tokens for tokens, _ in theirs]) if weigh else None
    rows = [_match(one, other, rarity) for one, other in zip(ours, theirs, strict=True)]
    precision, recall = np.array(rows, dtype=np.float64).T
    both = precision + recall
    return {
        "precision": precision,
        "recall": recall,
        "f1": np.divide(2 * precision * recall, both, out=np.zeros(len(rows)), where=both > 0),
    }


def word_encoder(encode: Encode) -> EncodeTokens:
    """Tokens = words, each encoded once by itself with any text encoder: nothing but a local sentence encoder is needed."""

    def encode_words(texts: list[str]) -> list[tuple[list[str], np.ndarray]]:
        split = [words_of(text) for text in texts]
        known = sorted({word for words in split for word in words})
        if not known:
            return [([], np.zeros((0, 1))) for _ in texts]
        vectors = np.asarray(encode(known))
        place = {word: row for row, word in enumerate(known)}
        return [(words, vectors[[place[word] for word in words]]) for words in split]

    return encode_words


def _match(
    ours: tuple[list[str], np.ndarray], theirs: tuple[list[str], np.ndarray], rarity: Callable[[str], float] | None
) -> tuple[float, float]:
    if not ours[0] or not theirs[0]:
        return 0.0, 0.0
    likeness = _units(np.asarray(ours[1], dtype=np.float64)) @ _units(np.asarray(theirs[1], dtype=np.float64)).T
    weights = [np.array([1.0 if rarity is None else rarity(token) for token in tokens]) for tokens in (ours[0], theirs[0])]
    return _weighted(likeness.max(axis=1), weights[0]), _weighted(likeness.max(axis=0), weights[1])


def _weighted(values: np.ndarray, weights: np.ndarray) -> float:
    return float(values @ weights / weights.sum()) if weights.sum() > 0 else float(values.mean())


def _rarity(references: Sequence[Sequence[str]]) -> Callable[[str], float]:
    """log((texts + 1) / (texts with the token + 1)), as BERTScore weighs."""
    known = Counter(token for tokens in references for token in set(tokens))
    return lambda token: float(np.log((len(references) + 1) / (known[token] + 1)))


def _units(vectors: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1.0)
