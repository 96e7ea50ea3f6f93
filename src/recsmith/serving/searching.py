"""`CatalogueSearch`: items by words, over the texts that the model in service was given and those written since.

BM25 finds texts that share words with the query; with `search = "hybrid"` MiniLM also finds texts that mean the same, and both lists are
fused by rank. New, changed and deleted items count from the moment in which they are written: the indexes take over what has changed
before they are asked. Vectors of a whole catalogue are made in the background, and answers say by which way items were found.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from recsmith.decoding import ItemTable
from recsmith.encoders import EncoderConfig, TextEncoder, encode_texts, make_encoder
from recsmith.protocols import Limits, RankedLists
from recsmith.recommender import Recommender
from recsmith.retrieval import Bm25Index, ExactIndex, reciprocal_rank_fusion
from recsmith.serving.generation import Generation
from recsmith.serving.growth import as_catalogue
from recsmith.serving.making import newer_table

Way = Literal["words", "vectors"]
_FEW = 64
"""Texts whose vectors are made while somebody waits."""
_LEAST_COSINE = 0.25
"""Texts less alike than this have nothing to do with each other (pairs of unrelated titles stay below it)."""
_ENCODER = EncoderConfig(name="minilm")


@dataclass(frozen=True)
class Hits:
    """What a query found, best first."""

    items: np.ndarray
    """Item indices of the generation that was asked for, int64 `[found]`."""
    scores: np.ndarray
    """Sums of reciprocal ranks, float32 `[found]`."""
    ways: tuple[Way, ...]
    """How it was looked for."""


class CatalogueSearch:
    """One for a server. `find` is for one thread at a time: the one of `executor`."""

    def __init__(self, kind: Literal["words", "hybrid"]) -> None:
        """Raises `MissingExtraError` for "hybrid" without the extra `text`."""
        self.executor = ThreadPoolExecutor(1, thread_name_prefix="recsmith-search")
        self._words = Bm25Index()
        self._vectors = _VectorSide(make_encoder(_ENCODER)) if kind == "hybrid" else None
        self._numbers: dict[str, int] = {}
        self._texts: dict[int, str] = {}
        self._item_texts = ItemTexts()
        self._generation: int | None = None
        self._own = np.zeros(0, dtype=np.int64)
        self._table: ItemTable | None = None

    def find(self, generation: Generation, query: str, count: int, *, where: Any = None, allowed: np.ndarray | None = None) -> Hits:
        """The best `count` items that are not hidden, within `allowed` (bool `[item]`) and the condition `where`.

        Raises `UserError` for a condition on a column that the catalogue does not have.
        """
        self._take(generation)
        assert self._table is not None
        open_items = ~generation.hidden if allowed is None else ~generation.hidden & allowed
        if where is not None:
            open_items = open_items & where.holds(self._table)
        limits = Limits(allowed=self._by_number(open_items))
        lists, ways = [self._words.search([query], count, limits=limits)], ["words"]
        if self._vectors is not None and self._vectors.ready:
            lists.append(self._vectors.search(query, count, limits))
            ways.append("vectors")
        fused = reciprocal_rank_fusion(lists, count)
        found = fused.items[0] >= 0
        return Hits(self._by_index(fused.items[0][found]), fused.scores[0][found], tuple(ways))  # type: ignore[arg-type]

    def close(self) -> None:
        """Stop the threads."""
        self.executor.shutdown(wait=True, cancel_futures=True)
        if self._vectors is not None:
            self._vectors.close()

    def _take(self, generation: Generation) -> None:
        """Bring the indexes up to date with the items of a generation."""
        if self._generation == generation.number:
            return
        texts = self._item_texts.of(generation)
        for name in generation.item_names:
            self._numbers.setdefault(name, len(self._numbers))
        self._own = np.array([self._numbers[name] for name in generation.item_names], dtype=np.int64)
        now = {int(number): text for number, text in zip(self._own, texts, strict=True) if text}
        gone = [number for number, text in self._texts.items() if now.get(number) != text]
        new = [number for number, text in now.items() if self._texts.get(number) != text]
        self._words.remove(gone)
        self._words.add(new, [now[number] for number in new])
        if self._vectors is not None:
            self._vectors.replace(gone, {number: now[number] for number in new})
        self._texts, self._table, self._generation = now, newer_table(generation), generation.number

    def _by_number(self, items: np.ndarray) -> np.ndarray:
        numbers = np.zeros(len(self._numbers), dtype=bool)
        numbers[self._own[items]] = True
        return numbers

    def _by_index(self, numbers: np.ndarray) -> np.ndarray:
        index = np.full(len(self._numbers), -1, dtype=np.int64)
        index[self._own] = np.arange(len(self._own))
        return index[numbers]


class _VectorSide:
    """The vectors of the texts; many at once are made in a thread of its own, a few at once."""

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder
        self._index = ExactIndex()
        self._wanted: dict[int, str] = {}
        self._lock = threading.Lock()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="recsmith-vectors")
        self._stopped = False

    @property
    def ready(self) -> bool:
        """Whether every text has its vector."""
        return not self._wanted

    def replace(self, gone: Sequence[int], new: dict[int, str]) -> None:
        """Texts that are no longer there, and those that are new."""
        with self._lock:
            there = [number for number in gone if self._wanted.pop(number, None) is None]
            self._index.remove(there)
            self._wanted.update(new)
            few = len(self._wanted) <= _FEW
        if not new:
            return
        if few:
            self._encode(_FEW)
        else:
            self._executor.submit(self._encode_all)

    def search(self, query: str, count: int, limits: Limits) -> RankedLists:
        """The texts most alike, one row; those that are not alike at all are left out."""
        vector = self._encoder.encode(_ENCODER.prompted([query], "queries"))
        with self._lock:
            lists = self._index.search(vector, count, limits=limits)
        alike = lists.scores >= _LEAST_COSINE
        return RankedLists(np.where(alike, lists.items, -1), np.where(alike, lists.scores, -np.inf).astype(np.float32))

    def close(self) -> None:
        """Stop after the batch that is being encoded; the cache on disk keeps what is done."""
        self._stopped = True
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _encode_all(self) -> None:
        while self._wanted and not self._stopped:
            self._encode(1024)

    def _encode(self, most: int) -> None:
        with self._lock:
            some = dict(list(self._wanted.items())[:most])
        if not some:
            return
        vectors = encode_texts(list(some.values()), _ENCODER).vectors
        with self._lock:
            still = [place for place, (number, text) in enumerate(some.items()) if self._wanted.get(number) == text]
            numbers = np.array(list(some), dtype=np.int64)[still]
            self._index.add(numbers, vectors[still])
            for number in numbers.tolist():
                del self._wanted[number]


class ItemTexts:
    """What each item is described by, "" where nothing is known: the catalogue's words, and those written since."""

    def __init__(self) -> None:
        self._base: Recommender | None = None
        self._known: list[str] = []

    def of(self, generation: Generation) -> list[str]:
        """One text per item of a generation. Those of the fit are made once for a model, and others only when they are written."""
        base, catalogue = generation.base, generation.recommender.catalogue
        if base.catalogue is None or catalogue is None or not base.catalogue.columns_of("text", "category", "list"):
            return [title or "" for title in generation.titles]
        template = base.catalogue.default_template()
        if self._base is not base:
            self._base, self._known = base, base.catalogue.texts(base.log.items.ids, template=template)
        ids = generation.recommender.log.items.ids
        texts = self._known + catalogue.texts(ids[base.items :], template=template)
        changed = [row for row in generation.written if 0 <= generation.index(row["item_id"]) < base.items]
        if changed:
            index = [generation.index(row["item_id"]) for row in changed]
            mine = ids.gather(index)
            rows = [_merged(row, old) for row, old in zip(changed, catalogue.rows(mine).iter_rows(named=True), strict=True)]
            newer = as_catalogue(generation.recommender, rows, mine.dtype).texts(mine, template=template)
            for place, text in zip(index, newer, strict=True):
                texts[place] = text
        return texts


def _merged(row: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    """A written item over what the catalogue says about it."""
    kept = {name: value for name, value in old.items() if name != "item_id" and value is not None}
    return {**row, "attributes": {**kept, **row["attributes"]}}


__all__ = ["CatalogueSearch", "Hits", "ItemTexts", "Way"]
