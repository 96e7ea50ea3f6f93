"""Text measures: BLEU as sacrebleu, ROUGE as stored from rouge-score, the rest by hand."""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from recsmith import errors
from recsmith.errors import DataError, MissingExtraError, UserError
from recsmith.evaluation.text import (
    bleu,
    distinct,
    feature_scores,
    perplexity,
    rouge,
    score_texts,
    sentence_similarity,
    token_similarity,
    unique_sentence_ratio,
    word_encoder,
)
from recsmith.evaluation.text.rouge import longest_common_subsequence

TEXTS = ["the cat sat on the mat", "A quick, brown fox!", "user would enjoy the great pizza and the friendly staff"]
REFERENCES = [
    "the cat was on the mat today",
    "fox: the quick brown one",
    "You would enjoy great pizza; friendly staff, great prices & great pizza",
]


# ---- BLEU and ROUGE --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 4])
def test_bleu_equals_sacrebleu(order):
    found = bleu(TEXTS, REFERENCES, order=order)
    expected = sacrebleu.metrics.BLEU(max_ngram_order=order).corpus_score(TEXTS, [REFERENCES])
    assert found.score == expected.score
    assert len(found.precisions) == order
    assert "tok:13a" in found.signature
    assert found.as_dict()["brevity_penalty"] == expected.bp


def test_bleu_without_its_extra_says_which(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError("no", name="sacrebleu")

    monkeypatch.setattr(errors, "import_module", missing)
    with pytest.raises(MissingExtraError, match=r"BLEU needs `sacrebleu.metrics`.*recsmith\[text-metrics\]"):
        bleu(["a"], ["a"])


def test_rouge_equals_the_stored_values():
    """Computed once with rouge-score 0.1.2, use_stemmer=False."""
    found = rouge([*TEXTS, "one", "again again again", ""], [*REFERENCES, "two", "again and again", "something"])
    np.testing.assert_allclose(found["ROUGE-1"], [0.769231, 0.666667, 0.571429, 0, 0.666667, 0], atol=1e-6)
    np.testing.assert_allclose(found["ROUGE-2"], [0.545455, 0.285714, 0.315789, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(found["ROUGE-L"], [0.769231, 0.444444, 0.571429, 0, 0.666667, 0], atol=1e-6)
    np.testing.assert_allclose(found["ROUGE-2 precision"][:3], [0.6, 0.333333, 0.333333], atol=1e-6)
    np.testing.assert_allclose(found["ROUGE-L recall"][:3], [0.714286, 0.4, 0.545455], atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abc"), max_size=12))
def test_the_common_subsequence_equals_the_table(first, other):
    table = np.zeros((len(first) + 1, len(other) + 1), dtype=int)
    for i, one in enumerate(first):
        for j, two in enumerate(other):
            table[i + 1, j + 1] = table[i, j] + 1 if one == two else max(table[i, j + 1], table[i + 1, j])
    assert longest_common_subsequence(first, other) == table[-1, -1]


# ---- variety, fluency, features --------------------------------------------------------------------------------------------


def test_variety_by_hand():
    texts = ["good good food", "Good food!", "good food"]
    assert distinct(texts) == 2 / 7
    assert distinct(texts, 2) == 2 / 4
    assert distinct(["one"], 2) == 0
    assert distinct(["gute Küche, gute Küche", "бар"]) == 3 / 5
    assert unique_sentence_ratio(texts) == 2 / 3
    with pytest.raises(UserError, match="n = 0"):
        distinct(texts, 0)
    with pytest.raises(DataError, match="there are no texts"):
        unique_sentence_ratio([])


def test_perplexity_by_hand():
    assert perplexity([np.log([0.5, 0.5]), np.log([0.125])]) == pytest.approx((2 * 2 * 8) ** (1 / 3))
    with pytest.raises(DataError, match="there is no token"):
        perplexity([])
    with pytest.raises(DataError, match="must be 0 or less"):
        perplexity([np.array([0.5])])
    with pytest.raises(DataError, match="no nan"):
        perplexity([np.array([np.nan])])


def test_features_by_hand():
    """Text 1 names location and price, text 2 price, text 3 nothing: one shared feature in one of three pairs."""
    texts = ["Great location and fair price.", "The price is fine", "a pricey thing"]
    found = feature_scores(texts, ["location", "price", "price"], {"location", "price", "free wifi"})
    assert (found.fmr, found.fcr, found.div) == (2 / 3, 2 / 3, 1 / 3)
    assert feature_scores(["we have free wifi"], ["free wifi"], ["free wifi"]).fmr == 1
    with pytest.raises(DataError, match="1 texts for 2 wanted features"):
        feature_scores(["a"], ["a", "b"], ["a"])
    with pytest.raises(DataError, match="no features"):
        feature_scores(["a"], ["a"], [])


# ---- likeness --------------------------------------------------------------------------------------------------------------

VECTORS = {"good": [1.0, 0.0], "fine": [0.8, 0.6], "food": [0.0, 1.0], "awful": [-1.0, 0.0]}


def encode(texts):
    """Mean of known word vectors."""
    return np.array([np.mean([VECTORS[word] for word in text.lower().split()], axis=0) if text else [0.0, 0.0] for text in texts])


def test_sentence_likeness_by_hand():
    found = sentence_similarity(["good", "good", ""], ["fine", "awful", "good"], encode)
    np.testing.assert_allclose(found, [0.8, -1, 0])


def test_word_likeness_by_hand():
    found = token_similarity(["good food"], ["fine food"], word_encoder(encode), weigh=False)
    np.testing.assert_allclose(found["precision"], [(0.8 + 1) / 2])
    np.testing.assert_allclose(found["recall"], [(0.8 + 1) / 2])
    one = token_similarity(["good", ""], ["good food", "good"], word_encoder(encode), weigh=False)
    np.testing.assert_allclose(one["precision"], [1, 0])
    np.testing.assert_allclose(one["recall"], [0.5, 0])
    np.testing.assert_allclose(one["f1"], [2 / 3, 0])


def test_rare_words_weigh_more():
    """`food` is in both references, `awful` in one: log(3/3) = 0 against log(3/2)."""
    found = token_similarity(["good food", "food"], ["awful food", "food"], word_encoder(encode))
    np.testing.assert_allclose(found["recall"], [0.0, 1.0], atol=1e-12)  # `awful` alone counts, and nothing is like it but 0


def test_an_encoder_that_loses_texts_is_refused():
    with pytest.raises(DataError, match="2 texts were encoded into 1"):
        token_similarity(["a"], ["b"], lambda texts: [(["a"], np.ones((1, 2)))])


# ---- together --------------------------------------------------------------------------------------------------------------


def test_scores_of_a_system_s_texts():
    found = score_texts(
        ["good food", "fine food"], ["fine food", "fine food"], encode=encode, wanted=["food", "food"], features=["food", "good"]
    )
    assert found.metrics["FMR"] == 1
    assert found.metrics["USR"] == 1
    assert found.metrics["ROUGE-1"] == 0.75
    assert found.per_text["ROUGE-1"].tolist() == [0.5, 1]
    assert "word similarity f1" in found.metrics
    assert "BLEU-4" in found.table()
    assert json.loads(json.dumps(found.as_dict()))["notes"]["BLEU"].startswith("nrefs:1")
    with pytest.raises(DataError, match="1 texts for 2 references"):
        score_texts(["a"], ["a", "b"])


@pytest.mark.realdata
@pytest.mark.skipif(os.environ.get("RECSMITH_DATA") is None, reason="RECSMITH_DATA does not name a folder of real data")
def test_a_published_system_s_outputs():
    """XRec on Google Local: all 3,000 pairs; ROUGE as rouge-score 0.1.2 gave it once, BLEU as sacrebleu gives it."""
    path = Path(os.environ["RECSMITH_DATA"], "xrec-google", "tst_pred_ref.jsonl.gz")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    texts, references = [row["pred"] for row in rows], [row["ref"] for row in rows]
    found = score_texts(texts, references).metrics
    assert len(rows) == 3_000
    assert found["ROUGE-1"] == pytest.approx(0.376211, abs=1e-6)
    assert found["ROUGE-2"] == pytest.approx(0.193512, abs=1e-6)
    assert found["ROUGE-L"] == pytest.approx(0.326530, abs=1e-6)
    assert found["BLEU-4"] == sacrebleu.corpus_bleu(texts, [references]).score
    assert found["USR"] > 0.99
