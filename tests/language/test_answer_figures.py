"""What was wrong with answers is computed from the answers: titles out of the air, repetitions, nothing readable; and it is on the card."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import recsmith
from recsmith.data import Histories
from recsmith.fitting import run
from recsmith.language import ScriptedBackend
from recsmith.language.rankers.case import Reading, ground_equal
from recsmith.models.language_ranker import LanguageRanker, LanguageRankerConfig, ground_in
from recsmith.testing.logs import ITEMS, checkerboard
from recsmith.training import to_batch

FILMS = ["Heat (1995)", "Alien (1979)", "Up (2009)", "Toy Story 3 (2010)"]
TFIDF = {"name": "tfidf", "dim": 64}


def test_titles_are_judged_before_and_after_grounding() -> None:
    reading = Reading(ground_in)
    answer = "1. Heat (1995)\n2. alien\n3. No Such Film\n4. Heat\n5. Toy Stroy 3 (2010)"
    assert reading.order(answer, FILMS) == [0, 1, 3]
    assert reading.order("nothing I know of", FILMS) == []
    assert reading.order(None, FILMS) == []
    assert reading.figures() == {
        "answers read": 3,
        "format error": pytest.approx(2 / 3),
        "incomplete": pytest.approx(1 / 3),
        "hallucination before grounding": pytest.approx(5 / 6),
        "hallucination": pytest.approx(2 / 6),
        "duplicate": pytest.approx(1 / 6),
    }


def test_numbers_beyond_the_list_are_out_of_the_air_and_repeated_ones_are_counted() -> None:
    reading = Reading(ground_equal)
    assert reading.order("2, 2, 9, 1, 2", FILMS) == [1, 0]
    figures = reading.figures()
    assert (figures["hallucination before grounding"], figures["hallucination"], figures["duplicate"]) == (0.2, 0.2, 0.4)


def naming(tmp_path: Path, script, **settings) -> LanguageRanker:
    config = {"cache": str(tmp_path / "answers.sqlite"), "candidates": 4, "names": 5, "retriever": "popularity", "encoder": TFIDF}
    model = LanguageRanker(LanguageRankerConfig(**config | settings), items=ITEMS, backend=ScriptedBackend(script))
    model.read([f"{word} number {item}" for item, word in enumerate(["red", "blue", "green"] * (ITEMS // 3))])
    model.solve(checkerboard())
    return model.eval()


def test_items_named_in_the_models_own_words_are_grounded_and_ranked(tmp_path: Path) -> None:
    titles = "1. green number 5\n2. No Such Thing\n3. red numbre 9\n4. green number 5\n5. red number 0"
    model = naming(tmp_path, lambda prompt: titles if "Titles, best first:" in prompt.text else "1, 2, 3, 4")
    scores = model.score(to_batch(Histories.from_rows([[0, 1], []])))
    order = scores[0].argsort(descending=True, stable=True).tolist()
    assert order[:2] == [5, 9]
    assert len(set(order[:4])) == 4
    assert not {0, 1} & set(order[:4]), "what the person has already is no candidate"
    figures = model.figures()
    named = {name.removeprefix("named: "): value for name, value in figures.items() if name.startswith("named: ")}
    rates = {"format error": 0.0, "hallucination": 0.2, "duplicate": 0.2, "excluded": pytest.approx(1 / 3)}
    assert named == {"titles": 5, **rates, "exact": pytest.approx(3 / 5), "fuzzy": pytest.approx(1 / 5)}


def test_meaning_finds_what_spelling_does_not(tmp_path: Path) -> None:
    def say(prompt) -> str:
        return "1. number number green five 5" if "Titles, best first:" in prompt.text else "1, 2, 3, 4"

    batch = to_batch(Histories.from_rows([[0, 1]]))
    spelling, meaning = naming(tmp_path, say), naming(tmp_path, say, grounding="meaning")
    assert int(spelling.score(batch).argmax()) != 5
    assert spelling.figures()["named: hallucination"] == 1.0
    assert int(meaning.score(batch).argmax()) == 5
    assert meaning.figures()["named: embedding"] == 1.0


def test_without_a_language_model_nothing_is_named_and_it_says_so() -> None:
    model = LanguageRanker(LanguageRankerConfig(encoder=TFIDF, names=3), items=ITEMS)
    model.read([f"number {item}" for item in range(ITEMS)])
    model.solve(checkerboard())
    assert torch.isfinite(model.score(to_batch(checkerboard(users=2)))).all()
    assert model.figures()["named"] == "none: no language model"


def test_the_rates_are_on_the_card_of_a_run(endpoint, tmp_path: Path) -> None:
    from test_language_run import dataset, settings

    endpoint.behave(text="1, 1, 9")
    card = run("zero-shot-ranker", dataset(), out=tmp_path / "run", settings=settings(endpoint.url, tmp_path))["language"]
    assert card["hallucination before grounding"] == card["hallucination"] == pytest.approx(1 / 3)
    assert card["duplicate"] == pytest.approx(1 / 3)
    assert (card["format error"], card["incomplete"]) == (0.0, 1.0)
    assert card["invalid after grounding"] == 0.0


def test_items_of_the_history_in_a_list_are_invalid(endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from test_language_run import dataset, settings

    from recsmith import fitting
    from recsmith.recommender import Recommender

    endpoint.behave(text="1")
    fitted = fitting.fit("zero-shot-ranker", dataset(), settings=settings(endpoint.url, tmp_path))
    answer = Recommender._answer
    monkeypatch.setattr(Recommender, "_answer", lambda self, *args, **kwargs: answer(self, *args, **{**kwargs, "include_seen": True}))
    fitting.measure(fitted)
    assert fitted.card["language"]["invalid after grounding"] > 0


def test_lists_say_which_language_model_spoke(endpoint, tmp_path: Path) -> None:
    from test_language_run import dataset, settings

    endpoint.behave(text="2, 1, 3")
    fitted = recsmith.fit("zero-shot-ranker", dataset(), settings=settings(endpoint.url, tmp_path))
    spoke = f"tiny at {endpoint.url}"
    lists = fitted.recommend(histories=[[0, 2], []], k=2)
    assert lists["backend"].to_list() == [spoke, spoke, None, None]
    assert fitted.recommend_slate(histories=[[0, 2]], size=2)["backend"].to_list() == [spoke, spoke]
    silent = recsmith.fit("popularity", dataset())
    assert silent.spoken_by is None
    assert silent.recommend([1], k=2).columns == ["user_id", "item_id", "score", "rank"]
