"""Vectors from a transformers folder, from an endpoint over real HTTP, and from a file; people as vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from embeddings_server import Server

from recsmith.data import Histories
from recsmith.encoders import (
    EncoderConfig,
    EndpointEncoder,
    HttpEmbeddings,
    UserVectorConfig,
    encode_texts,
    given_vectors,
    make_encoder,
    user_vectors,
)
from recsmith.encoders.folder import pooled
from recsmith.errors import BackendError, DataError, UserError

# ---- endpoints ----------------------------------------------------------------------------------------------------------


def test_an_endpoint_is_an_encoder_with_a_cache(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSMITH_EMBEDDINGS_KEY", "secret-key")
    config = EncoderConfig(name=f"{server.address}#tiny", batch_size=2, prompt="passage: ")
    encoded = encode_texts(["a", "bbb", "cc"], config, cache_folder=tmp_path)
    np.testing.assert_allclose(encoded.vectors[:, 0] / encoded.vectors[:, 1], [10, 12, 11], rtol=1e-5)
    assert [len(body["input"]) for body in server.asked] == [2, 1]
    assert {body["model"] for body in server.asked} == {"tiny"}
    assert set(server.keys) == {"Bearer secret-key"}
    assert encode_texts(["cc", "dddd"], config, cache_folder=tmp_path).cached == 1
    assert server.asked[-1]["input"] == ["passage: dddd"]


LETTERS = [letter * (1 + place) for place, letter in enumerate("abcdefghij")]


def texts_asked(server: Server) -> list[str]:
    return [text for body in server.asked for text in body["input"]]


def test_an_endpoint_that_fails_later_keeps_what_it_was_paid_for(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = EncoderConfig(name=f"{server.address}#tiny", batch_size=2)
    server.faults = [None, None, None, 401]
    with pytest.raises(BackendError, match="said 401"):
        encode_texts(LETTERS, config, cache_folder=tmp_path)
    assert "the vectors of 6 texts are kept" in caplog.text
    paid = texts_asked(server)[:6]
    server.asked.clear()
    encoded = encode_texts(LETTERS, config, cache_folder=tmp_path)
    assert encoded.cached == 6
    assert [len(body["input"]) for body in server.asked] == [2, 2]
    assert sorted(paid + texts_asked(server)) == LETTERS
    np.testing.assert_allclose(encoded.vectors[:, 0] / encoded.vectors[:, 1], [len(text) for text in LETTERS], rtol=1e-5)
    assert encode_texts(LETTERS, config, cache_folder=tmp_path).cached == 10
    assert len(server.asked) == 2


def test_an_interruption_keeps_what_was_encoded(server: Server, tmp_path: Path) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        if done >= 4:
            raise KeyboardInterrupt

    config = EncoderConfig(name=f"{server.address}#tiny", batch_size=2)
    with pytest.raises(KeyboardInterrupt):
        encode_texts(LETTERS, config, cache_folder=tmp_path, progress=interrupt)
    assert len(server.asked) == 2
    assert encode_texts(LETTERS, config, cache_folder=tmp_path).cached == 4
    assert len(server.asked) == 2 + 3


def test_a_failure_of_the_first_batch_keeps_nothing(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server.faults = [404]
    with pytest.raises(BackendError, match="said 404"):
        encode_texts(LETTERS, EncoderConfig(name=f"{server.address}#tiny"), cache_folder=tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))
    assert "are kept" not in caplog.text


def test_queries_may_have_a_prompt_of_their_own(server: Server, tmp_path: Path) -> None:
    config = EncoderConfig(name=f"{server.address}#tiny", prompt="passage: ", query_prompt="query: ")
    encode_texts(["boat"], config, cache_folder=tmp_path)
    asked = encode_texts(["boat"], config, side="queries", cache_folder=tmp_path)
    assert asked.cached == 0
    assert texts_asked(server) == ["passage: boat", "query: boat"]
    assert asked.vectors[0, 0] / asked.vectors[0, 1] == pytest.approx(len("query: boat"))
    for side in ("items", "queries"):
        assert encode_texts(["boat"], config, side=side, cache_folder=tmp_path).cached == 1  # type: ignore[arg-type]
    alike = config.override(query_prompt="")
    assert encode_texts(["boat"], alike, side="queries", cache_folder=tmp_path).cached == 1
    assert len(server.asked) == 2


def test_what_may_pass_is_tried_again(server: Server) -> None:
    server.faults = [429, 503, "cut"]
    assert HttpEmbeddings(server.address, "tiny", first_pause=0.01)(["ab"]) == [[2, 1.0]]
    assert len(server.asked) == 4


def test_what_does_not_pass_is_said_without_the_key(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    ask = HttpEmbeddings(server.address, "tiny", first_pause=0.01, tries=2)
    server.faults = [401]
    with pytest.raises(BackendError, match=r"said 401 .*set the key in the environment: RECSMITH_EMBEDDINGS_KEY") as error:
        ask(["a"])
    assert "secret" not in str(error.value)
    server.faults = [500, 500]
    with pytest.raises(BackendError, match=r"said 500 .*\(2 tries\)"):
        ask(["a"])
    server.faults = ["html"]
    with pytest.raises(BackendError, match="gave no list of embeddings"):
        ask(["a"])
    with pytest.raises(BackendError, match=r"could not be reached.*is the server running"):
        HttpEmbeddings("http://127.0.0.1:9/v1", "tiny", tries=1)(["a"])


def test_endpoint_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="names no model; write the model behind a #"):
        make_encoder(EncoderConfig(name="https://host/v1"))
    with pytest.raises(UserError, match="is no address of an endpoint"):
        HttpEmbeddings("host", "model")
    for answer, message in [([[1.0]], r"shape \(1, 1\) for 2 texts"), ([[1.0], ["x"]], "no table"), ([[1.0], [np.nan]], "not finite")]:
        with pytest.raises(BackendError, match=message):
            EndpointEncoder(lambda texts, answer=answer: answer, name="mine").encode(["a", "b"])


# ---- a transformers folder ----------------------------------------------------------------------------------------------


def test_pooling_reads_true_tokens_only() -> None:
    hidden = torch.tensor([[[1.0], [5.0], [90.0]], [[7.0], [80.0], [90.0]]])
    mask = torch.tensor([[1, 1, 0], [0, 0, 0]]).bool()
    found = {pooling: pooled(hidden, mask, pooling)[:, 0].tolist() for pooling in ("mean", "cls", "last", "max")}  # type: ignore[arg-type]
    assert found == {"mean": [3, 0], "cls": [1, 0], "last": [5, 0], "max": [5, 0]}


def test_a_folder_is_an_encoder(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "blue", "boat"]
    transformers.BertTokenizerFast(vocab={word: number for number, word in enumerate(words)}).save_pretrained(tmp_path)
    config = transformers.BertConfig(vocab_size=len(words), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    with torch.random.fork_rng(devices=[]):
        transformers.BertModel(config).save_pretrained(tmp_path)
    texts = ["red boat", "", "blue " * 30, "red"]
    encoders = {
        pooling: make_encoder(EncoderConfig(name=str(tmp_path), pooling=pooling, max_tokens=8, precision="fp32", batch_size=3))  # type: ignore[arg-type]
        for pooling in ("mean", "cls")
    }
    vectors = {pooling: encoder.encode(texts) for pooling, encoder in encoders.items()}
    assert vectors["mean"].shape == (4, 8)
    np.testing.assert_allclose(np.linalg.norm(vectors["mean"], axis=1), 1, atol=1e-5)
    assert not np.allclose(vectors["mean"], vectors["cls"])
    assert not np.allclose(vectors["mean"][0], vectors["mean"][3])
    np.testing.assert_allclose(encoders["mean"].encode(texts[3:]), vectors["mean"][3:], atol=1e-5)
    assert "mean of 8 tokens" in encoders["mean"].name
    assert encoders["mean"].name != encoders["cls"].name


# ---- vectors made elsewhere -----------------------------------------------------------------------------------------------


def test_given_vectors_go_by_item_id(tmp_path: Path) -> None:
    pl.DataFrame({"item_id": [30, 10], "vector": [[0.0, 2.0], [3.0, 4.0]]}).write_parquet(tmp_path / "v.parquet")
    vectors = given_vectors(tmp_path / "v.parquet", pl.Series([10, 20, 30]))
    np.testing.assert_allclose(vectors, [[0.6, 0.8], [0, 0], [0, 1]])


def test_given_vectors_that_do_not_fit_are_named(tmp_path: Path) -> None:
    path, ids = tmp_path / "v.parquet", pl.Series([10])
    with pytest.raises(DataError, match="there is no file"):
        given_vectors(path, ids)
    frames = {
        "has no column `vector`": {"item_id": [10]},
        "one vector per item, all of one length": {"item_id": [10, 20], "vector": [[1.0], [1.0, 2.0]]},
        "a vector for none of the 1 items": {"item_id": [99], "vector": [[1.0]]},
        "not finite": {"item_id": [10], "vector": [[float("nan")]]},
    }
    for message, columns in frames.items():
        pl.DataFrame(columns).write_parquet(path)
        with pytest.raises(DataError, match=message):
            given_vectors(path, ids)


# ---- people ---------------------------------------------------------------------------------------------------------------


def test_people_as_vectors() -> None:
    items = np.eye(3, dtype=np.float32)
    histories = Histories.from_rows([[0, 1], [], [2]])
    found = user_vectors(histories, items, UserVectorConfig(fade=0.5))
    assert found.rows.tolist() == [0, 2]
    np.testing.assert_allclose(found.vectors, [np.array([0.5, 1, 0]) / np.sqrt(1.25), [0, 0, 1]], rtol=1e-5)
    mean = user_vectors(histories, items, UserVectorConfig(pooling="mean"))
    np.testing.assert_allclose(mean.vectors[0], [2**-0.5, 2**-0.5, 0], rtol=1e-5)
    attention = user_vectors(histories, items, UserVectorConfig(pooling="attention", temperature=0.05))
    assert attention.vectors[0, 1] > 0.99


def test_interests_are_kept_apart_heaviest_first() -> None:
    items = np.array([[1, 0], [0.99, 0.14], [0, 1]], dtype=np.float32)
    config = UserVectorConfig(pooling="mean", interests=5, apart=0.8)
    found = user_vectors(Histories.from_rows([[2, 0, 1], [], [2]]), items, config)
    assert found.rows.tolist() == [0, 0, 2]
    assert found.vectors[0] @ items[0] > 0.99
    np.testing.assert_allclose(found.vectors[1:], [[0, 1], [0, 1]], atol=1e-6)
    first = user_vectors(Histories.from_rows([[2, 0, 1]]), items, config.override(interests=1, apart=0.8))
    assert len(first.vectors) == 1
