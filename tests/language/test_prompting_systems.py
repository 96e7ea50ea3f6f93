"""Rankers that look at time, place, kinds and long histories; BookGPT's tasks; memory for dialogue."""

from __future__ import annotations

import re
from dataclasses import replace
from math import log
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsmith.data import Catalogue, Histories, Vocabulary
from recsmith.data.item_facts import ItemFacts
from recsmith.decoding.grounding_catalogue import catalogue_grounding
from recsmith.errors import DataError, UserError
from recsmith.language import Prompt, ScriptedBackend
from recsmith.language.asker import Asker
from recsmith.language.bookgpt import rate_books, rate_for_readers, summarise_books
from recsmith.language.five_tasks import explain, name_next, predict_ratings, summarise_reviews
from recsmith.language.memory import DialogueMemory, Memory, MemoryConfig
from recsmith.language.rankers import RankCase
from recsmith.language.rankers.interest_series import InterestSeries, InterestSeriesConfig, as_digits
from recsmith.language.rankers.lifelong import Lifelong, LifelongConfig
from recsmith.language.rankers.memory import FromMemory, FromMemoryConfig
from recsmith.language.rankers.next_poi import NextPoi, NextPoiConfig, distance
from recsmith.language.rankers.rella import Rella, RellaConfig
from recsmith.language.rankers.temporal import Temporal, TemporalConfig, ago, time_clusters
from recsmith.language.shelf import Shelf
from recsmith.models.fact_table import FactTable

DAY = 86_400.0
TEXTS = ["War one", "War two", "Love one", "Love two", "War three", "Love three"]
FACTS = ItemFacts([[text.split()[0]] for text in TEXTS], [(52.5, 13.4), (52.5, 13.5), (48.1, 11.6), None, (52.5, 13.41), (48.1, 11.5)])


def genre_vectors(texts) -> np.ndarray:
    return np.array([["War" in text, "Love" in text] for text in texts], dtype=np.float32)


SHELF = Shelf(TEXTS, FACTS, genre_vectors, Histories.from_rows([[0, 4], [4, 5], [2]]))


def case(history: list[int], candidates: list[int], days: list[float] | None = None) -> RankCase:
    times = [] if days is None else [DAY * day for day in days]
    return RankCase(
        [TEXTS[item] for item in history], [TEXTS[item] for item in candidates], items=history, candidate_items=candidates, times=times
    )


def test_times_are_told_in_three_ways_and_the_orders_put_together() -> None:
    def script(prompt: Prompt) -> str:
        question = prompt.messages[-1].content
        if question.endswith("Interests:"):
            return "from war to love"
        return "2, 1, 3" if "from war to love" in question or "Taken last" in question else "1, 3, 2"

    backend = ScriptedBackend(script)
    ranked = Temporal(TemporalConfig(recent=1, clusters=2)).rank([case([0, 1, 2], [4, 5, 3], [0, 1, 30])], Asker(backend))
    assert ranked.orders == [[1, 0, 2]], "reciprocal places: 1 + 1 + 1/3 for the second, 1/2 + 1/2 + 1 for the first"
    assert ranked.figures["agreement"] == 0.0
    recent, interests, by_interests, gaps = (prompt.messages[-1].content for prompt in backend.asked)
    assert 'Taken before, oldest first:\n- "War one"\n- "War two"\n\nTaken last, oldest first:\n- "Love one"' in recent
    assert '- "1970-01-01 to 1970-01-02: War one; War two"\n- "1970-01-31: Love one"' in interests
    assert "from war to love" in by_interests
    assert '- "War one (30 days before the last)"' in gaps
    assert '- "Love one (with the last)"' in gaps


def test_strategies_of_time_need_times() -> None:
    bare = [case([0, 1], [4, 5])]
    with pytest.raises(UserError, match="the strategies interests, gaps tell when things were taken, but the log has no times"):
        Temporal(TemporalConfig()).rank(bare, Asker(ScriptedBackend([])))
    assert Temporal(TemporalConfig(strategies=["recent"])).rank(bare, Asker(ScriptedBackend(["2, 1"]))).orders == [[1, 0]]


def test_pauses_cut_time() -> None:
    assert time_clusters([0, 1, 10, 11, 100], 3) == [(0, 2), (2, 4), (4, 5)]
    assert time_clusters([0, 1, 10], 1) == [(0, 3)]
    assert time_clusters([5, 5, 5], 3) == [(0, 3)]
    assert time_clusters([], 3) == []
    assert [ago(seconds) for seconds in (0, 180, 3 * 3600, 9 * DAY, 800 * DAY)] == [
        "with the last", "3 minutes before the last", "3 hours before the last", "9 days before the last", "2 years before the last"
    ]  # fmt: skip


def test_places_are_told_with_distance_and_visitors() -> None:
    assert distance((52.52, 13.405), (48.137, 11.575)) == pytest.approx(504, abs=2)  # Berlin – Munich
    backend = ScriptedBackend(["3, 1, 2"])
    ranker = NextPoi(NextPoiConfig(recent=2))
    ranker.look_at(SHELF)
    assert ranker.rank([case([1, 1, 2, 0], [5, 3, 4])], Asker(backend)).orders == [[2, 0, 1]]
    question = backend.asked[0].messages[-1].content
    assert '- "War two (War): 2 visits"' in question
    assert '- "War one (War), 0.0 km away"' in question
    assert '2. "Love two (Love), distance unknown, 0 people"\n3. "War three (War), 0.7 km away, 2 people"' in question


def test_coordinates_and_kinds_come_from_the_catalogue() -> None:
    frame = pl.DataFrame({"item_id": [1, 2], "title": ["A", "B"], "Lat": [1.5, None], "lng": [2.0, 3.0], "genres": [["x", "y"], None]})
    facts = ItemFacts.of(Catalogue.from_frame(frame), Vocabulary(pl.Series([1, 2, 3])))
    assert facts.places == [(1.5, 2.0), None, None]
    assert facts.categories == [["x", "y"], [], []]
    table = FactTable()
    table.load_state_dict(FactTable(facts).state_dict())
    assert table.facts == ItemFacts([["x", "y"], [], []], [(1.5, 2.0), None, None])
    table.require(("places", "categories"), ranker="any")
    with pytest.raises(
        DataError, match="`next-poi` asks how far items are, but the catalogue has no coordinates; give it the columns `lat"
    ):
        FactTable().require(("places",), ranker="next-poi")
    with pytest.raises(DataError, match="`interest-series` speaks of kinds of items, but the catalogue names none"):
        FactTable().require(("categories",), ranker="interest-series")


class Digits(ScriptedBackend):
    """Goes on with the trend: the next number is the last one plus its last difference."""

    def __init__(self) -> None:
        super().__init__([])
        self.contexts: list[str] = []

    async def log_likelihood(self, context: str, continuations: tuple[str, ...]) -> list[float]:
        self.contexts.append(context)
        series = [int(part.replace(" ", "")) for part in re.findall(r"\d \d(?= ,)", context)]
        following = f"{max(0, min(99, 2 * series[-1] - series[-2])):02d}"
        wanted = following[0] if context.endswith(",") else following[1]
        return [0.0 if text.strip() == wanted else log(1e-6) for text in continuations]


def test_interests_are_carried_on_and_rank_what_is_coming() -> None:
    ranker = InterestSeries(InterestSeriesConfig(steps=3, categories=2))
    ranker.look_at(SHELF)
    # war fades: 1, 1/2, 0; love grows: 0, 1/2, 1
    question = case([0, 1, 4, 2, 3, 5], [1, 5, 0], [0, 1, 4, 5, 8, 9])
    assert ranker.series(question, SHELF) == {"War": [99, 50, 0], "Love": [0, 50, 99]}
    backend = Digits()
    ranked = ranker.rank([question], Asker(backend))
    assert ranked.orders == [[1, 0, 2]]
    assert as_digits([5, 42]) == "0 5 , 4 2 ,"
    assert backend.contexts[0] == "9 9 , 5 0 , 0 0 ,"
    with pytest.raises(
        UserError, match="`interest-series` reads the probabilities of digits, which scripted does not tell: use a local model"
    ):
        ranker.rank([question], Asker(ScriptedBackend([])))
    with pytest.raises(UserError, match="follows interests over time, but the log has no times"):
        ranker.rank([replace(question, times=[])], Asker(Digits()))


def test_each_candidate_is_judged_by_the_events_like_it() -> None:
    backend = ScriptedBackend(lambda prompt: "4" if "War" in prompt.text.partition("Candidate:")[2] else "2")
    ranker = Rella(RellaConfig(events=2))
    ranker.look_at(SHELF)
    ranked = ranker.rank([case([0, 1, 2, 3], [5, 4])], Asker(backend))
    assert ranked.orders == [[1, 0]]
    love, war = (prompt.messages[-1].content.partition("\n\nCandidate")[0] for prompt in backend.asked)
    assert re.findall('"(.+)"', love) == ["Love one", "Love two"]
    assert re.findall('"(.+)"', war) == ["War one", "War two"], "not the latest two"
    assert ranked.figures["events not the latest"] == 0.5
    probable = Rella(RellaConfig(answer="probability"))
    probable.look_at(SHELF)
    with pytest.raises(UserError, match="`answer = probability` needs a backend that knows likelihoods; scripted does not"):
        probable.rank([case([0], [4, 5])], Asker(ScriptedBackend([])))


class Sure(ScriptedBackend):
    async def log_likelihood(self, context: str, continuations: tuple[str, ...]) -> list[float]:
        assert continuations == (" Yes", " No")
        return [0.0, -2.0] if "War" in context.partition("Candidate:")[2] else [-2.0, 0.0]


def test_yes_may_be_a_probability() -> None:
    ranker = Rella(RellaConfig(answer="probability"))
    ranker.look_at(SHELF)
    assert ranker.rank([case([0], [5, 4])], Asker(Sure([]))).orders == [[1, 0]]


def test_a_long_history_is_searched_for_what_bears_on_the_candidates() -> None:
    backend = ScriptedBackend(["1"])
    ranker = Lifelong(LifelongConfig(events=3, latest=1))
    ranker.look_at(SHELF)
    ranked = ranker.rank([case([0, 1, *[2] * 50, 3], [4])], Asker(backend))
    assert re.findall('- "(.+)"', backend.asked[0].messages[-1].content) == ["War one", "War two", "Love two"]
    assert ranked.figures["events left out"] == 50.0


def test_what_is_said_brings_back_what_is_remembered() -> None:
    backend = ScriptedBackend(["2, 1"])
    only = {"recency": 0.0, "relevance": 1.0, "importance": 0.0}
    ranker = FromMemory(FromMemoryConfig.parse({"recalled": 3, "latest": 1, "memory": only}))
    ranker.look_at(SHELF)
    told = replace(case([0, 2, 4, 3, 5, 3], [1, 5], [0, 1, 2, 30, 40, 41]), request="a War film, please")
    ranked = ranker.rank([told], Asker(backend))
    assert ranked.orders == [[1, 0]]
    memories, _, rest = backend.asked[0].messages[-1].content.partition("What they took last")
    assert re.findall('- "(.+)"', memories) == [
        "War one (41 days before the last)",
        "takes War: 3 times in 10 (39 days before the last)",
        "War three (39 days before the last)",
    ]
    assert '- "Love two"' in rest
    assert "In their own words: " in rest
    assert "a War film, please" in rest
    assert ranked.figures["memories recalled"] == 3.0
    assert ranked.figures["not the latest"] == 1.0


def test_memories_weigh_by_share_and_need_no_times() -> None:
    ranker = FromMemory(FromMemoryConfig(kinds=1))
    ranker.look_at(SHELF)
    fact, *events = ranker.memories(case([0, 1, 4, 2], [5]))
    assert (fact.text, fact.importance, fact.time) == ("takes War: 8 times in 10", 0.75, 2 * DAY)
    assert [one.time for one in events] == [0.0, DAY, 2 * DAY, 3 * DAY]
    assert ranker.rank([case([], [4, 5])], Asker(ScriptedBackend(["2, 1"]))).orders == [[1, 0]]
    with pytest.raises(UserError, match=r"the ranker `memory` compares texts and has no encoder; call look_at\(shelf\) first"):
        FromMemory(FromMemoryConfig()).rank([case([0], [4, 5])], Asker(ScriptedBackend(["1"])))


def test_three_tasks_about_books() -> None:
    backend = ScriptedBackend(lambda prompt: "one two three four" if prompt.text.endswith("Summary:") else "8.5")
    asker = Asker(backend)
    assert rate_books(["Dune", "Emma"], asker, examples=[("Ulysses", 8.0)]).values == [8.5, 8.5]
    unread = rate_for_readers([[("Dune", 5.0)]], ["Emma"], asker)
    assert (unread.values, unread.backend, unread.figures["format error"]) == ([None], "scripted", 1.0), "8.5 is no rating of 1 to 5"
    assert summarise_books(["Dune"], asker, words=3).values == ["one two three"]
    assert '- "Ulysses: 8"' in backend.asked[0].text
    assert '- "Dune: 5.0"' in backend.asked[2].text or '- "Dune: 5"' in backend.asked[2].text
    with pytest.raises(UserError, match="an example of a rating has no number"):
        rate_books(["Dune"], asker, examples=[("Emma", "good")])


def test_the_five_tasks_of_is_chatgpt_a_good_recommender() -> None:
    """The fifth, direct recommendation, is the list-wise ranker."""
    answers = {"Rating:": "4", "Reason:": "because\nit fits", "Summary:": "fine"}
    asker = Asker(ScriptedBackend(lambda prompt: answers.get(prompt.text.rsplit("\n", 1)[-1], "1. Alien\n2. Up")))
    assert predict_ratings([[("Heat", 5.0)]], ["Alien"], asker).values == [4.0]
    assert name_next([["Heat"]], asker, catalogue_grounding(["Up", "Alien"]), count=2).lists.items.tolist() == [[1, 0]]
    assert explain([["Heat"]], ["Alien"], asker).values == ["because it fits"]
    assert summarise_reviews(["A very long film"], asker).values == ["fine"]


def remembered(**settings) -> DialogueMemory:
    told = [
        Memory("War is what I like", 0.0, importance=0.5),
        Memory("Love bores me", 5 * DAY, importance=0.5),
        Memory("Hello", 9 * DAY, importance=0.0),
    ]
    return DialogueMemory(MemoryConfig(**settings), genre_vectors, told)


def test_what_is_recalled_is_recent_relevant_and_important() -> None:
    only = {"recency": 0.0, "relevance": 0.0, "importance": 0.0}
    assert [one.text for one in remembered(**{**only, "relevance": 1.0}).recall("a War film", 1, now=10 * DAY)] == ["War is what I like"]
    assert [one.text for one in remembered(**{**only, "recency": 1.0}).recall("a War film", 1, now=10 * DAY)] == ["Hello"]
    assert [one.text for one in remembered(**{**only, "importance": 1.0}).recall("x", 2, now=10 * DAY)] == [
        "War is what I like",
        "Love bores me",
    ]
    memory = remembered()
    scores = memory.scores("a War film", now=10 * DAY)
    assert scores[0] == pytest.approx(0.0 + 1.0 + 1.0)
    assert scores[2] == pytest.approx(1.0 + 0.0 + 0.0)
    memory.recall("a War film", 1, now=10 * DAY, touch=True)
    assert memory.memories[-1] == Memory("War is what I like", 10 * DAY, importance=0.5)
    assert DialogueMemory(MemoryConfig(), genre_vectors).recall("x", 3, now=0.0) == []


def test_the_least_important_is_forgotten_first_and_files_come_back(tmp_path: Path) -> None:
    memory = remembered(most=3)
    memory.remember(Memory("I hate musicals", 9.5 * DAY, importance=1.0))
    assert [one.text for one in memory.memories] == ["War is what I like", "Love bores me", "I hate musicals"]
    memory.save(tmp_path / "memory.jsonl")
    assert DialogueMemory.load(tmp_path / "memory.jsonl", memory.config, genre_vectors).memories == memory.memories
    (tmp_path / "bad.jsonl").write_text("no json\n")
    with pytest.raises(UserError, match=r"bad.jsonl` holds no memories .*; give a file that `save` wrote"):
        DialogueMemory.load(tmp_path / "bad.jsonl", memory.config, genre_vectors)
    with pytest.raises(UserError, match="importance = 2 is outside 0 to 1"):
        memory.remember(Memory("x", 0.0, importance=2.0))


def test_a_turn_is_answered_from_memory_and_remembered() -> None:
    memory, backend = remembered(), ScriptedBackend(["Try Platoon.", ""])
    assert memory.answer("Another War film, please", Asker(backend), k=1, now=10 * DAY) == "Try Platoon."
    assert '- "War is what I like"' in backend.asked[0].text
    assert [(one.who, one.text) for one in memory.memories[-2:]] == [("person", "Another War film, please"), ("assistant", "Try Platoon.")]
    assert memory.answer("More", Asker(backend), now=11 * DAY) == ""
    assert len(memory) == 5
