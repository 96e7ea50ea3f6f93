"""BM25 over 100,000 short texts: ours beside bm25s, rank-bm25 and tantivy, in processor time, one query at a time.

    python benchmarks/retrieval_bm25.py [--texts 100000] [--queries 100]

The peers are compared where they are installed (pip install bm25s rank-bm25 tantivy). Words follow Zipf's law; a query has 8 words.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np

from recsmith.retrieval import Bm25Index

K = 100
Search = Callable[[str], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=100)
    arguments = parser.parse_args()
    texts, queries = make_texts(arguments.texts, (6, 20)), make_texts(arguments.queries, (8, 9), seed=1)
    peers = {"ours": ours, "bm25s": with_bm25s, "rank_bm25": with_rank_bm25, "tantivy": with_tantivy}
    for name, build in peers.items():
        if name != "ours" and find_spec(name) is None:
            print(f"{name:10s} not installed")
            continue
        started = time.process_time()
        search = build(texts)
        search(queries[0])  # some build lazily
        built, seconds = time.process_time() - started, []
        for query in queries[: 10 if name == "rank_bm25" else None]:
            started = time.process_time()
            search(query)
            seconds.append(time.process_time() - started)
        print(f"{name:10s} build {built:6.2f} s   query median {1e3 * np.median(seconds):8.2f} ms")


def make_texts(count: int, words: tuple[int, int], seed: int = 0) -> list[str]:
    random = np.random.default_rng(seed)
    chances = 1 / np.arange(1, 30_001)
    lengths = random.integers(*words, count)
    drawn = random.choice(len(chances), size=lengths.sum(), p=chances / chances.sum())
    return [" ".join(f"w{word}" for word in part) for part in np.split(drawn, np.cumsum(lengths)[:-1])]


def ours(texts: list[str]) -> Search:
    index = Bm25Index()
    index.add(np.arange(len(texts)), texts)
    return lambda query: index.search([query], K)


def with_bm25s(texts: list[str]) -> Search:
    import bm25s

    def split(some: list[str]) -> object:
        return bm25s.tokenize(some, stopwords=None, show_progress=False)

    index = bm25s.BM25()
    index.index(split(texts), show_progress=False)
    return lambda query: index.retrieve(split([query]), k=K, show_progress=False)


def with_rank_bm25(texts: list[str]) -> Search:
    from rank_bm25 import BM25Okapi

    index = BM25Okapi([text.split() for text in texts])
    return lambda query: np.argpartition(-index.get_scores(query.split()), K)[:K]


def with_tantivy(texts: list[str]) -> Search:
    import tantivy

    schema = tantivy.SchemaBuilder()
    schema.add_integer_field("number", stored=True)
    schema.add_text_field("text")
    index = tantivy.Index(schema.build())
    writer = index.writer(num_threads=1)
    for number, text in enumerate(texts):
        writer.add_document(tantivy.Document(number=number, text=text))
    writer.commit()
    index.reload()
    searcher = index.searcher()

    def search(query: str) -> list[int]:
        hits = searcher.search(index.parse_query(query, ["text"]), K).hits
        return [searcher.doc(address)["number"][0] for _, address in hits]

    return search


if __name__ == "__main__":
    main()
