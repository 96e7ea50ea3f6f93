from __future__ import annotations

import numpy as np
import pytest

from recsmith.encoders.tfidf import TfidfEncoder
from recsmith.errors import DataError

TITLES = [f"{colour} {thing} size {size}" for colour in ("red", "blue", "green") for thing in ("shoe", "shirt", "hat") for size in range(9)]


def test_unit_vectors_of_the_wanted_length() -> None:
    vectors = TfidfEncoder(dim=32).encode(TITLES)
    assert vectors.shape == (81, 32)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_similar_texts_are_near() -> None:
    red_shoe, red_shoes, blue_hat = TfidfEncoder(dim=64, reference=TITLES).encode(["red shoe", "Red shoes!", "blue hat"])
    assert red_shoe @ red_shoes > 0.8
    assert red_shoe @ red_shoes > red_shoe @ blue_hat + 0.3


def test_rare_words_weigh_more_than_common_ones() -> None:
    texts = [f"the common words number{i}" for i in range(60)]
    one, same_number, other = TfidfEncoder(dim=128, reference=texts).encode(["the number7", "number7", "the number8"])
    assert one @ same_number > one @ other


def test_same_texts_same_vectors_in_any_encoder() -> None:
    np.testing.assert_array_equal(TfidfEncoder(dim=32).encode(TITLES), TfidfEncoder(dim=32).encode(TITLES))


def test_new_texts_use_the_frequencies_of_the_reference() -> None:
    encoder = TfidfEncoder(dim=32, reference=TITLES)
    together = encoder.encode([*TITLES[:5], "a purple scarf"])
    np.testing.assert_allclose(encoder.encode(["a purple scarf"])[0], together[-1], atol=1e-5)
    name = encoder.name
    encoder.encode(["something else"])
    assert encoder.name == name


def test_name_tells_size_and_reference() -> None:
    encoder = TfidfEncoder(dim=32)
    assert encoder.name == "hashed-tfidf-v1 (dim 32, no frequencies yet)"
    encoder.encode(TITLES)
    assert encoder.name.startswith("hashed-tfidf-v1 (dim 32, frequencies of 81 texts, sha256 ")
    assert encoder.name == TfidfEncoder(dim=32, reference=TITLES).name


@pytest.mark.parametrize("texts", [[""], ["", ""], ["a"], ["?!", "東京", "\ud800"]])
def test_odd_texts_have_a_vector_too(texts: list[str]) -> None:
    vectors = TfidfEncoder(dim=16).encode(texts)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_no_texts() -> None:
    assert TfidfEncoder(dim=16).encode([]).shape == (0, 16)


@pytest.mark.parametrize(("texts", "message"), [("one text", "single text 'one text'"), (["a", None], "text 1 is None")])
def test_what_is_no_list_of_texts_is_refused(texts: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        TfidfEncoder(dim=16).encode(texts)
