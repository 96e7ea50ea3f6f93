from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from recsmith.encoders import EncoderConfig, encode, encode_texts, make_encoder, text
from recsmith.encoders.cache import VectorCache, text_keys
from recsmith.errors import DataError, MissingExtraError
from recsmith.protocols import Progress


class LengthEncoder:
    """Counts how many texts it really encodes; vectors are made from lengths."""

    def __init__(self, name: str = "length") -> None:
        self.name = name
        self.encoded: list[str] = []

    def encode(self, texts: Sequence[str], *, progress: Progress | None = None) -> np.ndarray:
        self.encoded += texts
        if progress is not None:
            progress("encoding texts", len(texts), len(texts))
        angles = np.array([len(text) for text in texts], dtype=np.float32)
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> LengthEncoder:
    made = LengthEncoder()
    monkeypatch.setattr(encode, "make_encoder", lambda config, reference=None: made)
    return made


def run(texts: list[str], folder: Path) -> encode.EncodedTexts:
    return encode_texts(texts, EncoderConfig(), cache_folder=folder)


def test_second_run_encodes_only_what_changed(encoder: LengthEncoder, tmp_path: Path) -> None:
    first = run(["a", "bb", "a", "ccc"], tmp_path)
    assert sorted(encoder.encoded) == ["a", "bb", "ccc"]
    assert (first.cached, first.encoder_name) == (0, "length")
    encoder.encoded.clear()
    second = run(["ccc", "dddd", "a", "a"], tmp_path)
    assert encoder.encoded == ["dddd"]
    assert second.cached == 3
    np.testing.assert_array_equal(second.vectors, LengthEncoder().encode(["ccc", "dddd", "a", "a"]))


def test_another_encoder_has_its_own_vectors(encoder: LengthEncoder, tmp_path: Path) -> None:
    run(["a"], tmp_path)
    encoder.name = "length/2"
    assert run(["a"], tmp_path).cached == 0


DAMAGES = {
    "cut": lambda data: data[: len(data) // 2],
    "junk": lambda data: b"junk",
    "bit": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_cache_is_rebuilt_with_a_warning(damage, encoder: LengthEncoder, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected = run(["a", "bb"], tmp_path).vectors
    (segment,) = tmp_path.rglob("*.safetensors")
    segment.write_bytes(damage(segment.read_bytes()))
    with caplog.at_level(logging.WARNING):
        again = run(["a", "bb"], tmp_path)
    assert "is damaged" in caplog.text
    assert again.cached == 0
    np.testing.assert_array_equal(again.vectors, expected)
    assert run(["a", "bb"], tmp_path).cached == 2


def test_cache_that_cannot_be_written_is_a_warning(encoder: LengthEncoder, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "vectors").write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        assert run(["a"], tmp_path).vectors.shape == (1, 2)
    assert "cannot be written" in caplog.text


def test_many_small_runs_are_merged(encoder: LengthEncoder, tmp_path: Path) -> None:
    texts = ["x" * length for length in range(1, 36)]
    for one in texts:
        run([texts[0], one], tmp_path)
    assert len(list(tmp_path.rglob("*.safetensors"))) < 10
    assert run(texts, tmp_path).cached == len(texts)
    assert not list(tmp_path.rglob("*.part"))


def test_large_runs_are_saved_in_parts(encoder: LengthEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "_SAVE_EVERY", 4)
    calls: list[tuple[int, int]] = []
    texts = ["x" * length for length in range(10)]
    result = encode_texts(texts, EncoderConfig(), cache_folder=tmp_path, progress=lambda what, done, total: calls.append((done, total)))
    assert calls == [(4, 10), (8, 10), (10, 10)]
    np.testing.assert_array_equal(result.vectors, LengthEncoder().encode(texts))
    assert len(list(tmp_path.rglob("*.safetensors"))) == 3


class BackwardsEncoder(LengthEncoder):
    """Hands over one text at a time, the last first, and fails where the text is told."""

    fails_at = "x" * 3

    def batches(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for place in reversed(range(len(texts))):
            if texts[place] == self.fails_at:
                raise MemoryError
            yield np.array([place]), self.encode([texts[place]])


def test_what_came_before_a_failure_stands_under_its_own_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = BackwardsEncoder()
    monkeypatch.setattr(encode, "make_encoder", lambda config, reference=None: made)
    texts = ["x" * length for length in range(10)]
    with pytest.raises(MemoryError):
        run(texts, tmp_path)
    kept = len(made.encoded)
    assert 0 < kept < len(texts)
    made.fails_at = ""
    again = run(texts[1:], tmp_path)
    assert again.cached == len(set(made.encoded[:kept]) - {""})
    np.testing.assert_array_equal(again.vectors, LengthEncoder().encode(texts[1:]))


def test_two_writers_keep_each_others_work(tmp_path: Path) -> None:
    one, other = VectorCache(tmp_path, "e"), VectorCache(tmp_path, "e")
    keys = np.sort(text_keys(["a", "b"]))
    one.add(keys[:1], np.ones((1, 2), dtype=np.float32))
    other.add(keys[1:], np.zeros((1, 2), dtype=np.float32))
    found, vectors = VectorCache(tmp_path, "e").find(keys)
    assert found.all()
    assert vectors.tolist() == [[1, 1], [0, 0]]


def test_no_texts(encoder: LengthEncoder, tmp_path: Path) -> None:
    assert len(run([], tmp_path).vectors) == 0
    assert not list(tmp_path.rglob("*"))


def test_the_environment_names_the_folder(encoder: LengthEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSMITH_CACHE", str(tmp_path / "here"))
    encode_texts(["a"], EncoderConfig())
    assert list((tmp_path / "here" / "vectors").glob("length-*/*.safetensors"))


def test_auto_falls_back_on_tfidf_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "find_spec", lambda module: None)
    result = encode_texts(["a b", "b c"], EncoderConfig(dim=16), cache_folder=tmp_path)
    assert result.encoder_name.startswith("hashed-tfidf-v1 (dim 16, frequencies of 2 texts")
    assert result.vectors.shape == (2, 16)
    assert not list(tmp_path.rglob("*"))


def test_new_texts_of_tfidf_use_the_reference(tmp_path: Path) -> None:
    config, catalogue = EncoderConfig(name="tfidf", dim=16), ["red shoe", "blue shoe", "red hat"]
    old = encode_texts(catalogue, config, cache_folder=tmp_path)
    new = encode_texts(["red shoe"], config, cache_folder=tmp_path, reference=catalogue)
    assert new.encoder_name == old.encoder_name
    np.testing.assert_allclose(new.vectors[0], old.vectors[0], atol=1e-5)


def test_missing_texts_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"text 1 is None, expected a string"):
        encode_texts(["a", None], EncoderConfig(name="tfidf"), cache_folder=tmp_path)


def test_hub_encoder_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'recsmith\[hub\]'"):
        _ = make_encoder(EncoderConfig(name="someone/some-model")).name
