"""Both tokenizers on real titles: no collapse, few collisions, codes that mean something."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from recsmith.data import ItemCodes
from recsmith.encoders import EncoderConfig, encode_texts
from recsmith.item_tokenizers import TOKENIZERS

FOLDER = os.environ.get("RECSMITH_DATA")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.realdata,
    pytest.mark.skipif(not FOLDER, reason="RECSMITH_DATA names no folder with real data"),
]


@pytest.fixture(scope="module")
def titles() -> list[str]:
    with gzip.open(Path(str(FOLDER)) / "amazon-beauty" / "items.tsv.gz", "rt", encoding="utf-8") as file:
        column = next(file).rstrip("\n").split("\t").index("title")
        return [line.rstrip("\n").split("\t")[column] for line in file]


@pytest.fixture(scope="module")
def vectors(titles: list[str]) -> np.ndarray:
    return encode_texts(titles, EncoderConfig()).vectors


def shared_prefixes(codes: ItemCodes, rows: np.ndarray, others: np.ndarray, levels: int) -> float:
    return float((codes.table[rows, :levels] == codes.table[others, :levels]).all(axis=1).mean())


def test_neighbours_are_of_the_same_kind(titles: list[str], vectors: np.ndarray) -> None:
    rows = np.array([row for row, title in enumerate(titles) if "nail polish" in title.lower()])
    similarity = vectors[rows] @ vectors.T
    similarity[np.arange(len(rows)), rows] = -1
    nearest = [titles[row].lower() for row in similarity.argmax(axis=1)]
    assert np.mean(["nail" in title or "polish" in title or "lacquer" in title for title in nearest]) > 0.9


@pytest.mark.parametrize("name", ["rq-kmeans", "rq-vae"])
def test_tokenizer_does_not_collapse(name: str, vectors: np.ndarray) -> None:
    tokenizer = TOKENIZERS.get(name)()
    codes = tokenizer.fit(vectors, seed=0)
    figures = tokenizer.figures()
    print(figures)
    assert figures["usage"][0] >= 0.9
    assert figures["collision_rate"] <= 0.2
    assert min(figures["entropy_bits"]) >= 6.5
    rows = np.random.default_rng(0).choice(len(vectors), 1000, replace=False)
    similarity = vectors[rows] @ vectors.T
    similarity[np.arange(len(rows)), rows] = -1
    near, far = similarity.argmax(axis=1), np.random.default_rng(1).permutation(rows)
    assert shared_prefixes(codes, rows, near, 1) > 20 * shared_prefixes(codes, rows, far, 1)
    assert shared_prefixes(codes, rows, near, 2) > 0.1
