"""Grounding of generated titles: precision, recall and speed, and fuzzy-matching libraries side by side in one run.

    RECSMITH_DATA=… python benchmarks/language_grounding.py [--queries 3000] [--embedding] [--libraries]

Titles of `ml-latest-small` (9,742 films) and `redial` (6,583). Of each, 30 % are taken out of the catalogue: they, and titles put together
from pieces of others, are the inventions of the list (25 % in all). The rest are titles of the catalogue, changed as people and language
models change them: typing errors, case, year left out, year off by one, article moved, subtitle left out, punctuation and accents
lost, numerals, a remark behind a dash. Right is the item that the title came from, or one whose title is the same but for its
year. One draw served to set the thresholds (`--seed 0`); the figures come from another (`--seed 1`, the default).
"""

from __future__ import annotations

import argparse
import csv
import difflib
import gzip
import json
import os
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from recsmith.runtime import prepare_environment

prepare_environment()

import numpy as np  # noqa: E402

from recsmith.decoding.grounding import Grounding  # noqa: E402
from recsmith.decoding.grounding_embedding import EmbeddingMatcher  # noqa: E402
from recsmith.decoding.grounding_exact import ExactMatcher  # noqa: E402
from recsmith.decoding.grounding_fuzzy import FuzzyMatcher  # noqa: E402
from recsmith.decoding.grounding_titles import read_title  # noqa: E402
from recsmith.testing.titles import INVENTED, generated_titles  # noqa: E402


def movielens(folder: Path) -> list[str]:
    """Titles of ml-latest-small."""
    with gzip.open(folder / "ml-latest-small" / "movies.csv.gz", "rt", encoding="utf-8") as file:
        return [row["title"] for row in csv.DictReader(file)]


def redial(folder: Path) -> list[str]:
    """Titles of ReDial."""
    with gzip.open(folder / "redial" / "ievalm_id2info.json.gz", "rt", encoding="utf-8") as file:
        return [entry["name"] for entry in json.load(file).values()]


def quality(found: np.ndarray, sources: Sequence[int], titles: Sequence[str]) -> tuple[float, float]:
    """Precision and recall of the items found for titles that came from `sources` (INVENTED: no item is right)."""
    keys = [read_title(title).key for title in titles]
    right = [item >= 0 and source != INVENTED and (item == source or keys[item] == keys[source]) for item, source in zip(found, sources)]
    return sum(right) / max(1, int((found >= 0).sum())), sum(right) / sum(source != INVENTED for source in sources)


def measure(name: str, grounding: Grounding, queries: list[str], sources: list[int], titles: list[str]) -> None:
    """One line: quality and speed of a cascade, by the clock and by processor time (what it would be on a machine of its own)."""
    matchers = grounding.matchers
    grounding.ground(queries[:16])
    started, worked = time.perf_counter(), time.process_time()
    found = grounding.ground(queries)
    seconds, work = time.perf_counter() - started, time.process_time() - worked
    precision, recall = quality(found.items, sources, titles)
    shares = ", ".join(f"{matcher.name} {float((found.by == place).mean()):.2f}" for place, matcher in enumerate(matchers))
    speed = f"{len(queries) / seconds:7.0f} titles/s, {len(queries) / work:7.0f} per second of processor"
    print(f"  {name:26s} precision {precision:.4f}  recall {recall:.4f}  {speed}  ({shares})", flush=True)


def libraries(queries: list[str], sources: list[int], titles: list[str]) -> None:
    """One nearest title by each library, threshold .88 on its own scale, normal forms on both sides."""
    from rapidfuzz import fuzz, process

    keys = [read_title(title).key for title in titles]
    given = [read_title(query).key for query in queries]

    def brute(scorer: Callable, cutoff: float) -> Callable[[str], int]:
        return lambda key: (process.extractOne(key, keys, scorer=scorer, score_cutoff=cutoff) or (None, 0, -1))[2]

    def standard(key: str) -> int:
        near = difflib.get_close_matches(key, keys, n=1, cutoff=0.88)
        return keys.index(near[0]) if near else -1

    ways = {
        "rapidfuzz ratio, all titles": (brute(fuzz.ratio, 88), 400),
        "rapidfuzz WRatio, all titles": (brute(fuzz.WRatio, 88), 100),
        "difflib, all titles": (standard, 10),
    }
    for name, (find, count) in ways.items():
        started, worked = time.perf_counter(), time.process_time()
        found = np.array([find(key) for key in given[:count]])
        seconds, work = time.perf_counter() - started, time.process_time() - worked
        precision, recall = quality(found, sources[:count], titles)
        speed = f"{count / seconds:7.0f} titles/s, {count / work:7.0f} per second of processor"
        print(f"  {name:28s} precision {precision:.4f}  recall {recall:.4f}  {speed}  (first {count})", flush=True)


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--embedding", action="store_true")
    parser.add_argument("--libraries", action="store_true")
    parser.add_argument("--errors", type=int, default=0, help="print so many wrong and missed titles")
    arguments = parser.parse_args()
    folder = Path(os.environ["RECSMITH_DATA"])
    for name, everything in (("ml-latest-small", movielens(folder)), ("redial", redial(folder))):
        made = generated_titles(everything, arguments.queries, seed=arguments.seed)
        print(f"{name}: {len(made.catalogue):,} titles in the catalogue, {len(made.queries):,} generated, "
              f"{sum(source == INVENTED for source in made.sources)} of them inventions")  # fmt: skip
        exact, fuzzy = ExactMatcher(made.catalogue), FuzzyMatcher(made.catalogue)
        measure("exact", Grounding([exact]), made.queries, made.sources, made.catalogue)
        measure("exact + fuzzy", Grounding([exact, fuzzy]), made.queries, made.sources, made.catalogue)
        if arguments.errors:
            show_errors(Grounding([exact, fuzzy]), made, arguments.errors)
        if arguments.embedding:
            embedding = embedding_matcher(made.catalogue)
            measure("exact + fuzzy + embedding", Grounding([exact, fuzzy], last=embedding), made.queries, made.sources, made.catalogue)
            measure("embedding alone", Grounding([embedding]), made.queries[:1000], made.sources[:1000], made.catalogue)
        if arguments.libraries:
            libraries(made.queries, made.sources, made.catalogue)


def show_errors(grounding: Grounding, made: Any, count: int) -> None:
    """Wrong and missed titles, for the eye."""
    found = grounding.ground(made.queries).items
    keys = [read_title(title).key for title in made.catalogue]
    rows = list(zip(made.queries, made.sources, found, made.changes, strict=True))
    random.Random(0).shuffle(rows)
    wrong = [row for row in rows if row[2] >= 0 and (row[1] == INVENTED or keys[row[1]] != keys[row[2]])]
    missed = [row for row in rows if row[2] < 0 and row[1] != INVENTED]
    for kind, some in (("WRONG", wrong), ("MISSED", missed)):
        for query, source, item, change in some[:count]:
            print(f"    {kind} {change}: {query!r} from {None if source == INVENTED else made.catalogue[source]!r} "
                  f"-> {None if item < 0 else made.catalogue[item]!r}")  # fmt: skip


def embedding_matcher(titles: list[str]) -> EmbeddingMatcher:
    """MiniLM over the titles."""
    from recsmith.encoders import EncoderConfig, make_encoder

    encoder = make_encoder(EncoderConfig(name="minilm"))
    return EmbeddingMatcher(encoder.encode(titles), encoder.encode, titles=titles)


if __name__ == "__main__":
    main()
