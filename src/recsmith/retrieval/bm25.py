"""`Bm25Index`: words that queries and texts share, weighted by rarity (Robertson et al., 1995; the idf of Lucene, which is never negative).

Our own postings in NumPy: beside bm25s, rank-bm25 and tantivy (`benchmarks/retrieval_bm25.py`) they filter inside the scoring and take
texts in and out, need no dependency, and give up nothing that a user would feel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from safetensors.numpy import load_file, save_file

from recsmith.artifacts import read_json, write_folder, write_json
from recsmith.config import Config
from recsmith.data import offsets_of
from recsmith.decoding import top_k
from recsmith.encoders import checked_texts
from recsmith.errors import DataError
from recsmith.protocols import Limits, RankedLists
from recsmith.retrieval.index import INDEX, NO_LIMITS
from recsmith.retrieval.places import Places
from recsmith.retrieval.words import words_of

_PACK_AT = 0.25
"""Share of dead places at which the postings are packed."""


class Bm25Config(Config):
    """Constants of BM25."""

    k1: float = Field(1.2, ge=0)
    """How soon repetitions of a word stop counting; 0: a word is there or not."""
    b: float = Field(0.75, ge=0, le=1)
    """How much long texts are held against: 0 not at all, 1 in full."""


@dataclass(frozen=True)
class _Postings:
    """Where each word stands: texts and counts, word after word."""

    starts: np.ndarray
    """int64 `[word + 1]`."""
    places: np.ndarray
    """int32 `[posting]`, ascending inside a word."""
    counts: np.ndarray
    """float32 `[posting]`."""


class Bm25Index:
    """Texts by id. A query finds only texts that share a word with it (`words_of`); lists may therefore be short."""

    def __init__(self, config: Bm25Config | None = None) -> None:
        self.config = config or Bm25Config()
        self._places = Places()
        self._words: dict[str, int] = {}
        self._tokens: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._postings: _Postings | None = None
        self._lengths = np.zeros(0, dtype=np.float32)

    def __len__(self) -> int:
        return len(self._places)

    def add(self, ids: Any, content: Sequence[str]) -> None:
        """Texts, one per id; see `Index.add`. The postings are made at the next search."""
        texts = checked_texts(content)
        if len(texts) != np.size(ids):
            raise DataError(f"{np.size(ids)} ids came with {len(texts)} texts; give one text per id")
        places = self._places.add(ids)
        words, counts, sizes = self._counted(texts)
        self._tokens.append((words, np.repeat(places, sizes), counts))
        self._lengths = np.concatenate([self._lengths, np.add.reduceat(np.r_[counts, 0], offsets_of(sizes)[:-1]) * (sizes > 0)])
        self._lengths = self._lengths.astype(np.float32)
        self._postings = None

    def remove(self, ids: Any) -> None:
        """See `Index.remove`."""
        self._places.remove(ids)
        if self._places.dead_share > _PACK_AT:
            self._pack()

    def search(self, queries: Sequence[str], k: int, *, limits: Limits = NO_LIMITS) -> RankedLists:
        """Query texts; see `Index.search`. Texts that share no word with the query are not answered."""
        queries = checked_texts(queries)
        inner = self._places.limits(limits)
        parts = []
        for row, query in enumerate(queries):
            scores = self._scores(query)
            scores[scores == 0] = -np.inf
            exclude = None if inner.exclude is None else inner.exclude.slice(row, row + 1)
            parts.append(top_k(torch.from_numpy(scores)[None], k, limits=Limits(exclude=exclude, allowed=inner.allowed)))
        return self._places.by_id(RankedLists.joined(parts, k=k))

    def save(self, folder: Path) -> Path:
        """See `Index.save`."""
        postings = self._made_postings()
        with write_folder(Path(folder), INDEX) as draft:
            write_json(draft / "index.json", {"kind": "bm25", "config": self.config.model_dump(mode="json"), "words": list(self._words)})
            arrays = {"starts": postings.starts, "places": postings.places, "counts": postings.counts}
            arrays |= {"ids": self._places.ids, "alive": self._places.alive, "lengths": self._lengths}
            save_file(arrays, draft / "index.safetensors")
        return Path(folder)

    @classmethod
    def read(cls, folder: Path) -> Bm25Index:
        """From an opened folder; use `load_index`."""
        facts, arrays = read_json(folder / "index.json"), load_file(folder / "index.safetensors")
        index = cls(Bm25Config.parse(facts["config"]))
        index._words = {word: number for number, word in enumerate(facts["words"])}
        index._places = Places(arrays["ids"], arrays["alive"])
        index._lengths = arrays["lengths"]
        index._postings = _Postings(arrays["starts"], arrays["places"], arrays["counts"])
        words = np.repeat(np.arange(len(index._words)), np.diff(arrays["starts"]))
        index._tokens = [(words, arrays["places"].astype(np.int64), arrays["counts"])]
        return index

    def _counted(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Word numbers and counts of each text's distinct words, end to end, and how many each text has."""
        words: list[int] = []
        counts: list[int] = []
        sizes = np.zeros(len(texts), dtype=np.int64)
        for row, text in enumerate(texts):
            found = Counter(words_of(text))
            sizes[row] = len(found)
            words.extend(self._words.setdefault(word, len(self._words)) for word in found)
            counts.extend(found.values())
        return np.array(words, dtype=np.int64), np.array(counts, dtype=np.float32), sizes

    def _made_postings(self) -> _Postings:
        if self._postings is None:
            words, places, counts = self._joined()
            order = np.lexsort((places, words))
            starts = offsets_of(np.bincount(words, minlength=len(self._words)).astype(np.int64))
            self._postings = _Postings(starts, places[order].astype(np.int32), counts[order])
        return self._postings

    def _joined(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if not self._tokens:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
        words, places, counts = (np.concatenate(column) for column in zip(*self._tokens))
        self._tokens = [(words, places, counts)]
        return words, places, counts

    def _scores(self, query: str) -> np.ndarray:
        """float32 `[place]`, 0 where no word is shared."""
        postings, alive = self._made_postings(), self._places.alive
        scores = np.zeros(len(alive), dtype=np.float32)
        texts = len(self._places)
        mean_length = float(self._lengths[alive].mean()) if texts else 1.0
        k1, b = self.config.k1, self.config.b
        for word, times in Counter(words_of(query)).items():
            number = self._words.get(word)
            if number is None:
                continue
            part = slice(postings.starts[number], postings.starts[number + 1])
            places, counts = postings.places[part], postings.counts[part]
            with_word = int(alive[places].sum())
            idf = np.log1p((texts - with_word + 0.5) / (with_word + 0.5))
            norm = k1 * (1 - b + b * self._lengths[places] / max(mean_length, 1e-9))
            scores[places] += np.float32(times * idf * (k1 + 1)) * counts / (counts + norm)
        return scores

    def _pack(self) -> None:
        """Leave out what is dead."""
        words, places, counts = self._joined()
        alive = self._places.alive
        kept, moved = alive[places], np.cumsum(alive) - 1
        self._tokens = [(words[kept], moved[places[kept]], counts[kept])]
        self._lengths = self._lengths[alive]
        self._places = Places(self._places.ids[alive])
        self._postings = None
