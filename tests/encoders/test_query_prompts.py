"""Where the library encodes what people say, the prompt of queries stands before it, and that of items before everything else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from embeddings_server import Server

from recsmith import fitting
from recsmith.data import Dataset, Histories
from recsmith.data.item_facts import ItemFacts
from recsmith.decoding.grounding_catalogue import catalogue_grounding
from recsmith.encoders import EncoderConfig
from recsmith.language import ScriptedBackend
from recsmith.language.asker import Asker
from recsmith.language.memory import DialogueMemory, Memory, MemoryConfig
from recsmith.language.rankers import RankCase
from recsmith.language.rankers.embedded import EncoderRanker
from recsmith.language.rankers.memory import FromMemory, FromMemoryConfig
from recsmith.language.shelf import Shelf
from recsmith.models.language_ranker import LanguageRanker
from recsmith.training import to_batch

PROMPTS = {"prompt": "passage: ", "query_prompt": "query: "}


class Sides:
    """An encoder with two sides that notes what each was given; a text's vector says which words it has."""

    def __init__(self, *words: str) -> None:
        self.words = words
        self.given: dict[str, list[str]] = {"items": [], "queries": []}

    def side(self, name: str) -> Callable[[list[str]], np.ndarray]:
        def encode(texts: list[str]) -> np.ndarray:
            self.given[name] += texts
            return np.array([[word in text for word in self.words] for text in texts], dtype=np.float32)

        return encode


def test_the_embedded_ranker_encodes_requests_as_queries() -> None:
    sides = Sides("war", "love")
    ranker = EncoderRanker(sides.side("items"), encode_queries=sides.side("queries"))
    cases = [RankCase(["war one"], ["war b", "love a"], request="love, only love"), RankCase(["war one"], ["love a", "war b"])]
    assert ranker.rank(cases).orders == [[1, 0], [1, 0]]
    assert sides.given == {"items": ["war one", "war b", "love a"], "queries": ["love, only love"]}


def test_memories_are_items_and_what_is_said_now_is_a_query() -> None:
    sides = Sides("war", "love")
    memory = DialogueMemory(
        MemoryConfig(recency=0.0, importance=0.0),
        sides.side("items"),
        [Memory("I like war films", 0.0), Memory("I love tea", 1.0)],
        encode_queries=sides.side("queries"),
    )
    for _ in range(2):
        assert [one.text for one in memory.recall("a war film", 1, now=2.0)] == ["I like war films"]
    assert memory.answer("I like war films", Asker(ScriptedBackend(["Yes."])), now=3.0) == "Yes."
    assert sides.given == {"items": ["I like war films", "I love tea"], "queries": ["a war film", "I like war films"]}


def test_the_memory_ranker_asks_its_memories_with_the_request() -> None:
    sides = Sides("war", "love")
    ranker = FromMemory(FromMemoryConfig(recalled=1, latest=0))
    facts = ItemFacts([()] * 3, [None] * 3)
    ranker.look_at(Shelf(["war a", "love b", "war c"], facts, sides.side("items"), encode_queries=sides.side("queries")))
    backend = ScriptedBackend(["1"])
    ranker.rank([RankCase(["war a", "love b"], ["war c"], "some war", items=[0, 1], candidate_items=[2])], Asker(backend))
    assert sides.given == {"items": ["war a", "love b"], "queries": ["some war"]}


def test_written_titles_are_queries_of_the_catalogue() -> None:
    sides = Sides("boat", "house")
    grounding = catalogue_grounding(["red boat", "blue house"], encode=sides.side("items"), encode_queries=sides.side("queries"))
    assert grounding.ground(["red boat", "that famous house over there"]).items.tolist() == [0, 1]
    assert sides.given == {"items": ["red boat", "blue house"], "queries": ["that famous house over there"]}


@pytest.fixture
def encoder(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EncoderConfig:
    monkeypatch.setenv("RECSMITH_CACHE", str(tmp_path / "cache"))
    return EncoderConfig.parse({"name": f"{server.address}#tiny", **PROMPTS})


def asked_behind(server: Server, prompt: str) -> set[str]:
    return {text.removeprefix(prompt) for body in server.asked for text in body["input"] if text.startswith(prompt)}


@pytest.mark.parametrize("recipe", ["zero-shot-ranker", "unillmrec"])
def test_language_rankers_tell_words_from_titles(recipe: str, server: Server, encoder: EncoderConfig, tmp_path: Path) -> None:
    model = fitting.fit(recipe, dataset(), settings={"model": {"encoder": encoder.model_dump(), "candidates": 4}}).model
    assert isinstance(model, LanguageRanker)
    model.score_told(to_batch(Histories.from_rows([[0], [1]])), ["something odd", ""])
    assert asked_behind(server, "query: ") == {"something odd"}
    assert asked_behind(server, "passage: ") >= set(TITLES)
    assert not asked_behind(server, "") - {f"query: {text}" for text in ["something odd"]} - {f"passage: {title}" for title in TITLES}


def test_what_is_written_about_people_and_what_they_say_are_queries(server: Server, encoder: EncoderConfig) -> None:
    settings = {"encoder": encoder.model_dump(), "model": {"encoder": encoder.model_dump()}, "training": {"epochs": 1}}
    model = fitting.fit("mint", dataset(), settings=settings).model
    about = asked_behind(server, "query: ")
    assert about
    assert not any(text in about for text in TITLES)
    with torch.no_grad():
        model.score_told(to_batch(Histories.from_rows([[0]]), users=np.array([0])), ["something odd"])  # type: ignore[operator]
    assert asked_behind(server, "query: ") - about == {"something odd"}
    assert all(text.startswith(("query: ", "passage: ")) for body in server.asked for text in body["input"])


TITLES = [f"Film {'odd' if item % 2 else 'even'} {item}" for item in range(8)]


def dataset() -> Dataset:
    rows = [(user, item, 10 * user + item) for user in range(12) for item in range(8) if (user + item) % 2 == 0 or item == user % 8]
    log = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    catalogue = pl.DataFrame({"item_id": list(range(8)), "title": TITLES, "genres": [[title.split()[1]] for title in TITLES]})
    return Dataset.from_frame(log, catalogue=catalogue, name="parity")
