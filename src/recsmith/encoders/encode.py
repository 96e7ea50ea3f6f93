"""`encode_texts`: texts → vectors through a cache on disk, so that a second run encodes only what changed."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsmith.encoders.batches import Batch, BatchedEncoder, in_order
from recsmith.encoders.cache import VectorCache, text_keys
from recsmith.encoders.text import EncoderConfig, Side, TextEncoder, make_encoder
from recsmith.encoders.tfidf import TfidfEncoder
from recsmith.protocols import Progress
from recsmith.runtime import default_cache

log = logging.getLogger(__name__)

_SAVE_EVERY = 16_384
"""Texts between two writes of the cache. A failure or an interruption writes too; only a process killed outright loses these."""


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
    side: Side = "items",
    cache_folder: Path | None = None,
    reference: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> EncodedTexts:
    """Encode `texts`; what the cache already holds for the same encoder and the same text is read instead.

    `side` says whose prompt comes before the texts: the items' or that of people's own words ("queries"); the cache knows texts with
    their prompt. Where the encoder fails or is interrupted, what was encoded until then is kept and the next call encodes the rest.

    The cache is `cache_folder`, else `$RECSMITH_CACHE`, else `~/.cache/recsmith`. tfidf is not cached: it is fast, and its vectors
    depend on the catalogue. To encode new items as in an earlier tfidf run, pass that run's texts of items as `reference`.
    """
    started = time.perf_counter()
    texts = config.prompted(texts, side)
    encoder = make_encoder(config, reference=None if reference is None else config.prompted(reference, "items"))
    vectors, cached = encode_with(encoder, texts, cache_folder=cache_folder, progress=progress)
    return EncodedTexts(vectors, encoder.name, time.perf_counter() - started, cached)


def encode_with(
    encoder: TextEncoder, texts: list[str], *, cache_folder: Path | None = None, progress: Progress | None = None
) -> tuple[np.ndarray, int]:
    """As `encode_texts`, with an encoder that is there already and texts behind their prompts: vectors, and how many were cached."""
    if isinstance(encoder, TfidfEncoder):
        return encoder.encode(texts, progress=progress), 0
    return _through_cache(encoder, texts, VectorCache(cache_folder or default_cache(), encoder.name), progress)


def _through_cache(encoder: TextEncoder, texts: list[str], cache: VectorCache, progress: Progress | None) -> tuple[np.ndarray, int]:
    keys = text_keys(texts)
    distinct, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    found, known = cache.find(distinct)
    missing = np.flatnonzero(~found)
    parts = [known]
    for start in range(0, len(missing), _SAVE_EVERY):
        part = missing[start : start + _SAVE_EVERY]
        told = _shifted(progress, start, len(missing))
        parts.append(_encoded([texts[index] for index in first[part]], distinct[part], encoder, cache, told))
    if len(missing) == 0 and len(texts) == 0:
        return encoder.encode([]), 0
    rows = np.empty(len(distinct), dtype=np.int64)
    rows[np.r_[np.flatnonzero(found), missing]] = np.arange(len(distinct))
    vectors = np.concatenate([part for part in parts if len(part)])
    return vectors[rows[inverse.reshape(-1)]], int(found[inverse.reshape(-1)].sum())


def _encoded(texts: list[str], keys: np.ndarray, encoder: TextEncoder, cache: VectorCache, progress: Progress | None) -> np.ndarray:
    """Vectors of `texts`, float32 `[text, dim]`, which go into the cache; also those of the batches before one that fails."""
    if not isinstance(encoder, BatchedEncoder):
        whole = encoder.encode(texts, progress=progress)
        cache.add(keys, whole)
        return whole
    done: list[Batch] = []
    try:
        vectors = in_order(_noted(encoder.batches(texts), done), len(texts), progress=progress)
        cache.add(keys, vectors)
    except BaseException:  # an interruption too: what was paid for is kept, and the reason goes on
        if done:
            _keep(done, keys, cache)
        raise
    return vectors


def _noted(batches: Iterator[Batch], done: list[Batch]) -> Iterator[Batch]:
    for batch in batches:
        done.append(batch)
        yield batch


def _keep(done: list[Batch], keys: np.ndarray, cache: VectorCache) -> None:
    places = np.concatenate([places for places, _ in done])
    if cache.add(keys[places], np.concatenate([vectors for _, vectors in done])):
        log.warning("the encoder stopped; the vectors of %d texts are kept in %s, the next run goes on", len(places), cache.folder)


def _shifted(progress: Progress | None, start: int, total: int) -> Progress | None:
    if progress is None:
        return None
    return lambda what, done, _: progress(what, start + done, total)
