"""What every index promises, against a search written out by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsmith.data import Histories
from recsmith.decoding import Scan
from recsmith.errors import ArtifactError, DataError, MissingExtraError, UserError
from recsmith.protocols import Limits
from recsmith.retrieval import Bm25Index, ExactIndex, FaissConfig, FaissIndex, load_index
from recsmith.retrieval import faiss_index as faiss_module

DIM = 6
MAKERS: dict[str, Callable[[], Any]] = {
    "exact": ExactIndex,
    "flat": lambda: FaissIndex(FaissConfig(kind="flat")),
    "ivf": lambda: FaissIndex(FaissConfig(kind="ivf", cells=3, probes=3)),
    "hnsw": lambda: FaissIndex(FaissConfig(kind="hnsw", search_effort=64)),
}
WORDS = ["red", "green", "blue", "old", "new", "film", "book"]


def vectors(count: int, seed: int = 0) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def by_hand(content: dict[int, np.ndarray], query: np.ndarray, k: int, forbidden: set[int]) -> list[int]:
    scores = {number: float(vector @ query) for number, vector in content.items() if number not in forbidden}
    return sorted(scores, key=lambda number: -scores[number])[:k]


@pytest.fixture(params=list(MAKERS))
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    monkeypatch.setattr(faiss_module, "_SELECTIVE", 4)  # so that small indexes search by their structure
    return MAKERS[request.param]


def test_finds_what_a_search_by_hand_finds_while_ids_come_and_go(make: Callable[[], Any]) -> None:
    index, content = make(), dict(zip(range(100, 160), vectors(60)))
    index.add(np.arange(100, 140), vectors(60)[:40])
    index.add(np.arange(140, 160), vectors(60)[40:])
    queries = vectors(5, seed=1)
    for removed in ([], [100, 117], list(range(120, 145))):
        index.remove(np.array(removed, dtype=np.int64))
        for number in removed:
            del content[number]
        lists = index.search(queries, 7)
        assert len(index) == len(content)
        assert lists.items.tolist() == [by_hand(content, query, 7, set()) for query in queries]
        assert (np.diff(lists.scores, axis=1) <= 0).all()
    index.add([100], vectors(60)[:1])
    assert index.search(vectors(60)[:1], 1).items.tolist() == [[100]]


def test_limits_act_inside_the_search(make: Callable[[], Any]) -> None:
    index, content = make(), dict(enumerate(vectors(50)))
    index.add(np.arange(50), vectors(50))
    queries = vectors(3, seed=1)
    allowed = np.random.default_rng(2).random(45) < 0.5  # ids from 45 on lie beyond the mask: forbidden
    exclude = Histories.from_rows([[1, 2, 3], [], [49, 7, 999]])
    lists = index.search(queries, 20, limits=Limits(exclude=exclude, allowed=allowed))
    for row, query in enumerate(queries):
        forbidden = set(np.flatnonzero(~allowed)) | set(range(45, 50)) | set(exclude.row(row).tolist())
        expected = by_hand(content, query, 20, forbidden)
        assert lists.items[row].tolist() == expected + [-1] * (20 - len(expected))


def test_few_allowed_ids_are_all_found(make: Callable[[], Any]) -> None:
    index = make()
    index.add(np.arange(50), vectors(50))
    allowed = np.zeros(50, dtype=bool)
    allowed[[3, 30]] = True
    lists = index.search(vectors(1, seed=1), 4, limits=Limits(allowed=allowed))
    assert sorted(lists.items[0].tolist()) == [-1, -1, 3, 30]
    assert lists.scores[0, 2:].tolist() == [-np.inf, -np.inf]
    assert (index.search(vectors(1), 2, limits=Limits(allowed=np.zeros(50, dtype=bool))).items == -1).all()


def test_saved_and_loaded_it_answers_the_same(make: Callable[[], Any], tmp_path: Path) -> None:
    index = make()
    index.add(np.arange(30), vectors(30))
    index.remove([4])
    loaded = load_index(index.save(tmp_path / "index"))
    assert type(loaded) is type(index)
    queries = vectors(4, seed=1)
    assert loaded.search(queries, 9).items.tolist() == index.search(queries, 9).items.tolist()
    loaded.add([4], vectors(30)[4:5])
    loaded.remove([29])
    assert len(loaded) == 29


def test_an_empty_index_answers_nothing(make: Callable[[], Any], tmp_path: Path) -> None:
    index = make()
    assert index.search(np.zeros((2, DIM), np.float32), 3).items.tolist() == [[-1] * 3] * 2
    assert len(load_index(index.save(tmp_path / "index"))) == 0
    index.add([7], vectors(1))
    index.remove([7])
    assert index.search(vectors(1), 2).items.tolist() == [[-1, -1]]


def test_mistakes_are_named(make: Callable[[], Any]) -> None:
    index = make()
    index.add([1, 2], vectors(2))
    with pytest.raises(UserError, match="id 2 is in the index already; remove it first"):
        index.add([2], vectors(1))
    with pytest.raises(UserError, match="id -3 is negative"):
        index.add([-3], vectors(1))
    with pytest.raises(UserError, match="an id is given twice"):
        index.add([5, 5], vectors(2))
    with pytest.raises(UserError, match="id 9 is not in the index"):
        index.remove([1, 9])
    with pytest.raises(DataError, match=r"have shape \(1, 2\), expected \[row, 6\]"):
        index.add([8], np.ones((1, 2), np.float32))
    with pytest.raises(DataError, match="1 ids came with 2 vectors"):
        index.add([8], vectors(2))
    with pytest.raises(DataError, match="not finite"):
        index.add([8], np.full((1, DIM), np.nan))
    assert len(index) == 2


def test_a_damaged_folder_is_refused(tmp_path: Path) -> None:
    index = ExactIndex()
    index.add([1], vectors(1))
    index.save(tmp_path / "index")
    (tmp_path / "index" / "index.safetensors").write_bytes(b"")
    with pytest.raises(ArtifactError, match="damaged"):
        load_index(tmp_path / "index")


def test_a_large_exact_index_answers_by_the_scan_until_its_vectors_change(monkeypatch: pytest.MonkeyPatch) -> None:
    many, asked = vectors(12_000), vectors(3, seed=9)
    monkeypatch.setattr("recsmith.retrieval.exact.faster_scan", lambda _, table, bias: Scan(table, bias))
    index, plain = ExactIndex(), ExactIndex()
    for one in (index, plain):
        one.add(np.arange(len(many)) + 5, many)
    limits = Limits(exclude=Histories.from_rows([[5, 6], [], [7]]), allowed=np.arange(len(many) + 5) % 3 > 0)
    monkeypatch.setattr(plain, "_scan_for", lambda _: None)
    for change in (lambda _: None, lambda one: one.remove([17, 100]), lambda one: one.add([3], asked[:1] * 1.5)):
        change(index)
        change(plain)
        for _ in range(4):
            got, wanted = (one.search(asked, 10, limits=limits) for one in (index, plain))
            np.testing.assert_array_equal(got.items, wanted.items)
            np.testing.assert_allclose(got.scores, wanted.scores, rtol=1e-5, atol=1e-6)
        assert index._scan is not None
        assert index._scan.proved > 0
    assert len(index._scan.vectors) == len(many) + 1


def test_faiss_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'recsmith\[retrieval\]'"):
        FaissIndex()


# ---- BM25 ---------------------------------------------------------------------------------------------------------------


def bm25_by_hand(texts: dict[int, str], query: str, *, k1: float = 1.2, b: float = 0.75) -> dict[int, float]:
    split = {number: text.lower().split() for number, text in texts.items()}
    mean = sum(map(len, split.values())) / max(len(split), 1) or 1
    scores = {}
    for number, words in split.items():
        score = 0.0
        for word in query.split():
            n = sum(word in other for other in split.values())
            tf = words.count(word)
            score += np.log(1 + (len(split) - n + 0.5) / (n + 0.5)) * tf * (k1 + 1) / (tf + k1 * (1 - b + b * len(words) / mean) or 1)
        if score > 0:
            scores[number] = score
    return scores


texts_of_words = st.lists(st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join), min_size=1, max_size=12)


@settings(max_examples=15, deadline=None)
@given(texts_of_words, st.lists(st.sampled_from([*WORDS, "unknown"]), min_size=1, max_size=4), st.data())
def test_bm25_scores_are_the_formula_while_texts_come_and_go(texts: list[str], query: list[str], data: st.DataObject) -> None:
    index, left = Bm25Index(), dict(enumerate(texts))
    half = len(texts) // 2
    index.add(np.arange(half), texts[:half])
    index.add(np.arange(half, len(texts)), texts[half:])
    for number in data.draw(st.lists(st.sampled_from(range(len(texts))), unique=True)):
        index.remove([number])
        del left[number]
    lists = index.search([" ".join(query)], len(texts))
    found = {int(item): float(score) for item, score in zip(lists.items[0], lists.scores[0]) if item >= 0}
    assert found == pytest.approx(bm25_by_hand(left, " ".join(query)), rel=1e-4)


def test_bm25_filters_saves_and_loads(tmp_path: Path) -> None:
    index = Bm25Index()
    index.add([10, 11, 12, 13], ["Red book", "red film, red FILM", "blue book", ""])
    index.remove([12])
    loaded = load_index(index.save(tmp_path / "index"))
    for one in (index, loaded):
        assert one.search(["RED"], 4).items.tolist() == [[11, 10, -1, -1]]
        limits = Limits(exclude=Histories.from_rows([[11]]))
        assert one.search(["red book"], 2, limits=limits).items.tolist() == [[10, -1]]
        assert one.search(["", "nothing like it"], 1).items.tolist() == [[-1], [-1]]
    loaded.add([12], ["green book"])
    assert loaded.search(["green"], 1).items.tolist() == [[12]]
    with pytest.raises(DataError, match="2 ids came with 1 texts"):
        index.add([1, 2], ["a"])
