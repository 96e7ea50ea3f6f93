"""`encode_texts`: texts → vectors through a cache on disk, so that a second run encodes only what changed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsmith.encoders.cache import VectorCache, text_keys
from recsmith.encoders.text import EncoderConfig, TextEncoder, checked_texts, make_encoder
from recsmith.encoders.tfidf import TfidfEncoder
from recsmith.protocols import Progress
from recsmith.runtime import default_cache

_SAVE_EVERY = 16_384
"""Texts between two writes of the cache: what an interruption may cost."""


@dataclass(frozen=True)
class EncodedTexts:
    """Vectors and how they came about."""

    vectors: np.ndarray
    """float32 `[text, dim]`, each of length 1."""
    encoder_name: str
    """Exactly which encoder was used."""
    seconds: float
    """Wall time of the call."""
    cached: int
    """Number of texts whose vectors came from the cache."""


def encode_texts(
    texts: Sequence[str],
    config: EncoderConfig,
    *,
    cache_folder: Path | None = None,
    reference: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> EncodedTexts:
    """Encode `texts`; what the cache already holds for the same encoder and the same text is read instead.

    The cache is `cache_folder`, else `$RECSMITH_CACHE`, else `~/.cache/recsmith`. tfidf is not cached: it is fast, and its vectors
    depend on the catalogue. To encode new items as in an earlier tfidf run, pass that run's texts as `reference`.
    """
    started = time.perf_counter()
    texts = [config.prompt + text for text in checked_texts(texts)]
    encoder = make_encoder(config, reference=None if reference is None else [config.prompt + text for text in reference])
    if isinstance(encoder, TfidfEncoder):
        vectors, cached = encoder.encode(texts, progress=progress), 0
    else:
        vectors, cached = _through_cache(encoder, texts, VectorCache(cache_folder or default_cache(), encoder.name), progress)
    return EncodedTexts(vectors, encoder.name, time.perf_counter() - started, cached)


def _through_cache(encoder: TextEncoder, texts: list[str], cache: VectorCache, progress: Progress | None) -> tuple[np.ndarray, int]:
    keys = text_keys(texts)
    distinct, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    found, known = cache.find(distinct)
    missing = np.flatnonzero(~found)
    parts = [known]
    for start in range(0, len(missing), _SAVE_EVERY):
        part = missing[start : start + _SAVE_EVERY]
        vectors = encoder.encode([texts[index] for index in first[part]], progress=_shifted(progress, start, len(missing)))
        cache.add(distinct[part], vectors)
        parts.append(vectors)
    if len(missing) == 0 and len(texts) == 0:
        return encoder.encode([]), 0
    rows = np.empty(len(distinct), dtype=np.int64)
    rows[np.r_[np.flatnonzero(found), missing]] = np.arange(len(distinct))
    vectors = np.concatenate([part for part in parts if len(part)])
    return vectors[rows[inverse.reshape(-1)]], int(found[inverse.reshape(-1)].sum())


def _shifted(progress: Progress | None, start: int, total: int) -> Progress | None:
    if progress is None:
        return None
    return lambda what, done, _: progress(what, start + done, total)
