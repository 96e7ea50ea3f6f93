from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from recsmith.data import Histories
from recsmith.errors import ConfigError, DataError, UserError
from recsmith.language import ScriptedBackend
from recsmith.models.language_ranker import LanguageRanker, LanguageRankerConfig
from recsmith.testing import ScoreModelTests
from recsmith.testing.logs import ITEMS, checkerboard
from recsmith.training import to_batch

WORDS = ["even", "odd"]
TEXTS = [f"{WORDS[item % 2]} number {item}" for item in range(ITEMS)]
TFIDF = {"name": "tfidf", "dim": 64}


class TestLanguageRanker(ScoreModelTests):
    model_class = LanguageRanker
    config = LanguageRankerConfig(encoder=TFIDF, candidates=8)

    def build(self) -> LanguageRanker:
        model = super().build()
        model.read(TEXTS)
        return model


def parity(prompt) -> str:
    """Candidates of the parity that the history has most, biggest number first."""
    before, _, after = prompt.messages[-1].content.partition("Candidates:")
    word = max(WORDS, key=before.count)
    entries = re.findall(r'^(\d+)\. "(\w+) number (\d+)"', after, flags=re.MULTILINE)
    return ", ".join(entry[0] for entry in sorted(entries, key=lambda entry: (entry[1] != word, -int(entry[2]))))


def made(tmp_path: Path, script, **settings) -> LanguageRanker:
    config = LanguageRankerConfig(**{"cache": str(tmp_path / "answers.sqlite"), "candidates": 6} | settings)
    model = LanguageRanker(config, items=ITEMS, backend=ScriptedBackend(script))
    model.read(TEXTS)
    model.solve(checkerboard())
    return model.eval()


def test_the_language_model_orders_the_candidates_and_the_retriever_the_rest(tmp_path: Path) -> None:
    model = made(tmp_path, parity, retriever="popularity")
    asked = Histories.from_rows([[0, 2], [1], []])
    scores = model.score(to_batch(asked))
    retrieved = model.retriever.score(to_batch(asked))
    for row, word in ((0, 0), (1, 1)):
        order = scores[row].argsort(descending=True, stable=True).tolist()
        first = order[:6]
        right = [item for item in first if item % 2 == word]
        assert first[: len(right)] == sorted(right, reverse=True)
        assert not set(first) & set(asked.row(row).tolist())
        behind = [item for item in order[6:] if item not in asked.row(row)]
        assert behind == sorted(behind, key=lambda item: (-float(retrieved[row, item]), item))
    assert scores[2].argsort(descending=True, stable=True).tolist() == retrieved[2].argsort(descending=True, stable=True).tolist()


def test_it_says_who_spoke_and_asks_nothing_twice(tmp_path: Path) -> None:
    model = made(tmp_path, parity)
    histories = checkerboard(users=6)
    first = model.score(to_batch(histories))
    figures = model.figures()
    assert (figures["backend"], figures["ranker"], figures["cases"], figures["asked"]) == ("scripted", "list-wise", 6, 6)
    assert figures["format error"] == 0
    again = made(tmp_path, [])
    assert torch.equal(again.score(to_batch(histories)), first)
    assert (again.figures()["asked"], again.figures()["cached"]) == (0, 6)


def test_without_a_language_model_an_encoder_answers_and_says_so() -> None:
    model = LanguageRanker(LanguageRankerConfig(encoder=TFIDF), items=ITEMS)
    model.read(TEXTS)
    model.solve(checkerboard())
    model.score(to_batch(checkerboard(users=2)))
    assert model.figures()["backend"].startswith("none; hashed-tfidf-v1 (dim 64, frequencies of 12 texts")


def test_own_words_count_without_a_language_model_too() -> None:
    model = LanguageRanker(LanguageRankerConfig(encoder=TFIDF, retriever="popularity", candidates=11), items=ITEMS)
    model.read(TEXTS)
    model.solve(checkerboard())
    batch = to_batch(Histories.from_rows([[0]]))
    assert int(model.score(batch).argmax()) % 2 == 0
    assert int(model.score_told(batch, ["odd odd odd"]).argmax()) % 2 == 1


def test_one_candidate_is_not_worth_a_question(tmp_path: Path) -> None:
    model = made(tmp_path, [], candidates=1)
    assert torch.isfinite(model.score(to_batch(checkerboard(users=2)))).all()


def test_texts_are_saved_with_the_weights(tmp_path: Path) -> None:
    model = made(tmp_path, parity)
    other = LanguageRanker(model.config, items=ITEMS, backend=ScriptedBackend([]))
    other.load_state_dict(model.state_dict())
    assert other.table.texts == TEXTS
    histories = checkerboard(users=3)
    assert torch.equal(model.score(to_batch(histories)), other.score(to_batch(histories)))


def test_an_inventive_model_answers_with_candidates_alone(tmp_path: Path) -> None:
    model = made(tmp_path, lambda prompt: "1. No Such Thing\n2. even number 11\n3. EVEN NUMBER 4!\n4. odd nubmer 11")
    scores = model.score(to_batch(Histories.from_rows([[0]])))
    assert torch.isfinite(scores).all()
    assert model.figures()["hallucination"] >= 0.25
    assert np.isin(scores[0].argsort(descending=True)[:6].numpy(), np.arange(1, ITEMS)).all()


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="retriever `sasrec` does not fit: it must score items and learn in closed form"):
        LanguageRanker(LanguageRankerConfig(retriever="sasrec"), items=ITEMS)
    with pytest.raises(UserError, match=r"unknown language ranker `list-wis`; did you mean `list-wise`\?"):
        LanguageRanker(LanguageRankerConfig(ranker="list-wis"), items=ITEMS)
    with pytest.raises(ConfigError, match=r"unknown setting `model.ranker_settings.permutation`; did you mean `permutations`"):
        LanguageRanker(LanguageRankerConfig(ranker_settings={"permutation": 2}), items=ITEMS)
    with pytest.raises(DataError, match="has read no item texts"):
        LanguageRanker(LanguageRankerConfig(), items=ITEMS).score(to_batch(checkerboard(users=1)))
    model = LanguageRanker(LanguageRankerConfig(backend={"kind": "endpoint"}), items=ITEMS)
    model.read(TEXTS)
    with pytest.raises(ConfigError, match=r"backend kind `endpoint` needs `endpoint.url` and `endpoint.model`"):
        model.score(to_batch(checkerboard(users=1)))
