"""A recipe with a language model, from data to card: `recsmith run` through a real endpoint, and offline."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest

import recsmith
from recsmith import fitting
from recsmith.data import Dataset
from recsmith.errors import BudgetError, DataError
from recsmith.recipe import load_recipe, recipe_names

RECIPES = [
    "zero-shot-ranker",
    "point-wise-ranker",
    "pair-wise-ranker",
    "nir",
    "language-profile",
    "drdt",
    "near-cold-start",
    "doke",
    "diversity-reranker",
    "po4isr",
    "recprompt",
    "re2llm",
    "coral",
    "temporal-prompts",
    "next-poi",
    "rella-zero-shot",
    "lifelong-rag",
    "memory-retrieval",
    "bookgpt",
    "five-task-prompts",
    "unillmrec",
]


def dataset(*, titles: bool = True) -> Dataset:
    rows = [(user, item, 10 * user + item) for user in range(12) for item in range(8) if (user + item) % 2 == 0 or item == user % 8]
    log = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    kinds = ["even" if item % 2 == 0 else "odd" for item in range(8)]
    columns = {"title": [f"Film {kind} {item}" for item, kind in enumerate(kinds)], "genres": [[kind] for kind in kinds]}
    catalogue = pl.DataFrame({"item_id": list(range(8)), **columns, "latitude": [50.0 + item for item in range(8)], "longitude": [8.0] * 8})
    return Dataset.from_frame(log, catalogue=catalogue if titles else None, name="parity")


def settings(url: str | None, folder: Path, **model) -> dict:
    offline = {"encoder": {"name": "tfidf", "dim": 32}, "candidates": 4, "cache": str(folder / "answers.sqlite")}
    backend = {} if url is None else {"backend": {"kind": "endpoint", "endpoint": {"url": url, "model": "tiny"}}}
    return {"model": {**offline, **backend, **model}}


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_runs_through_an_endpoint_and_says_who_spoke(recipe: str, endpoint, tmp_path: Path) -> None:
    endpoint.behave(text="2, 1, 3")
    card = fitting.run(recipe, dataset(), out=tmp_path / "run", settings=settings(endpoint.url, tmp_path))
    assert card["language"]["backend"] == f"tiny at {endpoint.url}"
    assert card["language"]["calls"] > 0
    assert card["metrics"]["Recall@5"] >= 0
    loaded = recsmith.load(tmp_path / "run")
    answer = loaded.recommend([1], k=3)
    assert len(answer) == 3
    assert loaded.model.figures()["backend"] == f"tiny at {endpoint.url}"
    calls = endpoint.stats()["calls"]
    again = fitting.run(recipe, dataset(), out=tmp_path / "again", settings=settings(endpoint.url, tmp_path))
    assert endpoint.stats()["calls"] == calls, "the second run pays nothing"
    assert (again["language"]["asked"], again["language"]["calls"]) == (0, 0)
    assert again["language"]["prompts"] == again["language"]["cached"] + again["language"]["repeated"] > 0


def test_knowledge_of_what_others_took_stands_in_the_prompt(endpoint, tmp_path: Path) -> None:
    endpoint.behave(text="2, 1, 3")
    fitting.fit("doke", dataset(), out=tmp_path / "run", settings=settings(endpoint.url, tmp_path))
    recsmith.load(tmp_path / "run").recommend(histories=[[0]], k=3)
    asked = endpoint.stats()["bodies"][-1]["messages"][-1]["content"]
    lines = re.findall(r'- "(\d+) people who took (Film \w+ \d) also took (Film \w+ \d)"', asked)
    assert lines, asked
    assert [int(people) for people, _, _ in lines] == sorted((int(people) for people, _, _ in lines), reverse=True)
    assert {taken for _, taken, _ in lines} == {"Film even 0"}


def test_offline_an_encoder_ranks_and_the_card_says_so(tmp_path: Path) -> None:
    card = fitting.run("zero-shot-ranker", dataset(), out=tmp_path / "run", settings=settings(None, tmp_path))
    assert card["language"]["backend"].startswith("none; hashed-tfidf")


def test_a_spent_budget_ends_the_run_and_keeps_the_answers(endpoint, tmp_path: Path) -> None:
    endpoint.behave(text="1")
    small = settings(endpoint.url, tmp_path, budget={"max_tokens": 600})
    with pytest.raises(BudgetError, match="the budget of 600 tokens is spent"):
        fitting.run("zero-shot-ranker", dataset(), out=tmp_path / "run", settings=small)
    paid = endpoint.stats()["paid"]
    card = fitting.run("zero-shot-ranker", dataset(), out=tmp_path / "run", settings=settings(endpoint.url, tmp_path))
    assert card["language"]["cached"] >= paid > 0


def test_what_a_ranker_looks_up_must_stand_in_the_catalogue(tmp_path: Path) -> None:
    bare = Dataset.from_frame(dataset().interactions, catalogue=dataset().catalogue.frame.select("item_id", "title"), name="bare")
    with pytest.raises(DataError, match="`next-poi` asks how far items are, but the catalogue has no coordinates"):
        fitting.fit("next-poi", bare, out=tmp_path / "run", settings=settings(None, tmp_path))
    with pytest.raises(DataError, match="`interest-series` speaks of kinds of items, but the catalogue names none"):
        fitting.fit("llmtime", bare, out=tmp_path / "run", settings=settings(None, tmp_path))


def test_without_a_language_model_nothing_is_learned_and_the_card_says_so(tmp_path: Path) -> None:
    card = fitting.run("po4isr", dataset(), out=tmp_path / "run", settings=settings(None, tmp_path))
    assert card["language"]["lessons"] == "none: no language model"


def test_what_was_learned_is_in_the_run(endpoint, tmp_path: Path) -> None:
    endpoint.behave(text="2, 1, 3")
    fitting.run("recprompt", dataset(), out=tmp_path / "run", settings=settings(endpoint.url, tmp_path))
    loaded = recsmith.load(tmp_path / "run").model
    assert loaded.learned.texts[0].startswith("You order candidates")
    assert loaded.state_dict().keys() >= {"learned.content", "facts.content", "people.values"}


def test_data_without_titles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="speaks about items by title, but `parity` has no titles"):
        fitting.run("nir", dataset(titles=False), out=tmp_path / "run", settings=settings(None, tmp_path))


LOCAL = {"lm-likelihood": {}, "llmtime": {}, "rella-zero-shot": {"ranker_settings": {"answer": "probability"}}}


@pytest.mark.parametrize("recipe", LOCAL)
def test_likelihood_runs_on_a_local_model(recipe: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from tiny_language_model import write_tiny_model

    local = {"backend": {"kind": "local", "local": {"folder": str(write_tiny_model(tmp_path / "tiny")), "precision": "fp32"}}}
    chosen = settings(None, tmp_path, **local, **LOCAL[recipe])
    card = fitting.run(recipe, dataset(), out=tmp_path / "run", settings=chosen)
    assert card["language"]["backend"].startswith("tiny (files sha256")
    assert card["language"]["calls"] == card["language"]["asked"] > 0
    assert card["language"]["prompt_tokens"] > card["language"]["asked"]
    again = fitting.run(recipe, dataset(), out=tmp_path / "again", settings=chosen)
    assert (again["language"]["asked"], again["language"]["prompt_tokens"]) == (0, 0), "the second run asks the model nothing"
    assert again["metrics"] == pytest.approx(card["metrics"], nan_ok=True)
    assert card["language"]["ranker"] == load_recipe(recipe).model.settings["ranker"]
    assert card["language"]["format error"] == 0.0


def test_the_recipes_load() -> None:
    assert set(RECIPES) < set(recipe_names())
    assert load_recipe("near-cold-start").model.settings["ranker_settings"]["template"] == "preferences-only"
