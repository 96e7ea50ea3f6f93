from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest

from recsmith.data import Dataset, SplitConfig, ViewConfig
from recsmith.decoding.grounding_catalogue import catalogue_grounding
from recsmith.errors import DataError, UserError
from recsmith.language import Prompt, ScriptedBackend
from recsmith.language.asker import Asker
from recsmith.language.five_tasks import explain, name_next, predict_ratings, summarise_reviews
from recsmith.language.prompt_search import improve_instruction, with_instruction
from recsmith.language.rankers import RankCase
from recsmith.language.rankers.list_wise import ListWise, ListWiseConfig
from recsmith.language.template import load_template
from recsmith.language.writers import WRITERS, training_histories
from recsmith.language.writers.cold_pairs import ColdPairs, ColdPairsConfig
from recsmith.language.writers.genre import Genre, GenreConfig
from recsmith.language.writers.kar import Kar, KarConfig
from recsmith.language.writers.llm_rec import LlmRec, LlmRecConfig

SPLIT = SplitConfig()
ROWS = [(user, (user + step) % 5, step) for user in range(4) for step in range(4 + user % 2)]


def dataset() -> Dataset:
    log = pl.DataFrame(ROWS, schema=["user_id", "item_id", "timestamp"], orient="row")
    catalogue = pl.DataFrame({"item_id": list(range(8)), "title": [f"Film {item}" for item in range(8)]})
    return Dataset.from_frame(log, catalogue=catalogue, name="small")


def talk(prompt: Prompt) -> str:
    question = prompt.messages[-1].content
    if "Letter:" in question:
        return "A" if "Film 5" in question else "none of them"
    if "Topics:" in question:
        return "1. Crime\n2. Space\n3. Love\n4. War"
    return f"Words about {question.count('Film')} films"


def test_the_registry_names_them_all() -> None:
    for name in WRITERS:
        made = WRITERS.get(name)
        assert made(made.Config()).config == made.Config()


def test_nothing_held_out_is_ever_told() -> None:
    told = training_histories(dataset(), SPLIT)
    assert told == {0: [0, 1], 1: [1, 2, 3], 2: [2, 3], 3: [3, 4, 0]}
    for writer in (Kar(KarConfig()), Genre(GenreConfig()), LlmRec(LlmRecConfig()), ColdPairs(ColdPairsConfig())):
        backend = ScriptedBackend(talk)
        writer.write(dataset(), Asker(backend), split=SPLIT)
        for prompt in backend.asked:
            if "What this person took" in prompt.text:
                lines = prompt.text.partition("oldest first:")[2].partition("\n\n")[0]
                shown = [int(number) for number in re.findall(r"Film (\d)", lines)]
                assert shown in told.values()


def test_llm_rec_writes_columns_that_become_the_items_text() -> None:
    asker = Asker(ScriptedBackend(talk))
    written = LlmRec(LlmRecConfig()).write(dataset(), asker, split=SPLIT)
    frame = written.catalogue.frame
    assert frame["llm_rec_basic"].to_list() == ["Words about 1 films"] * 8
    assert frame["llm_rec_engagement"].null_count() == 3
    assert written.catalogue.texts(pl.Series([0]))[0].startswith("Film 0. Words about 1 films. Words about 1 films")
    record = written.source["written"][-1]
    assert (record["writer"], record["backend"], record["column"]) == ("llm-rec", "scripted", "catalogue.llm_rec_engagement")
    assert record["templates"] == {"describe-with-neighbours": load_template("describe-with-neighbours").hash}
    assert record["told"].startswith("training events of leave-one-out")
    assert record["cost"]["asked"] > 0
    assert dataset().catalogue.frame.equals(written.catalogue.frame.drop("llm_rec_basic", "llm_rec_recommendation", "llm_rec_engagement"))
    with pytest.raises(DataError, match="`small` already has a column `llm_rec_basic`; drop it first"):
        LlmRec(LlmRecConfig()).write(written, asker, split=SPLIT)


def test_kar_writes_facts_and_preferences() -> None:
    written = Kar(KarConfig()).write(dataset(), Asker(ScriptedBackend(talk)), split=SPLIT)
    assert written.catalogue.frame["kar_facts"].null_count() == 0
    assert written.users["kar_preferences"].to_list() == ["Words about 2 films", "Words about 3 films"] * 2
    assert [entry["column"] for entry in written.source["written"]] == ["catalogue.kar_facts", "users.kar_preferences"]


def test_genre_writes_titles_topics_and_items_for_people_with_few_events(tmp_path: Path) -> None:
    written = Genre(GenreConfig(few=2)).write(dataset(), Asker(ScriptedBackend(talk)), split=SPLIT)
    assert written.users["genre_topics"].to_list() == ["Crime, Space, Love"] * 4
    new = written.interactions.filter(pl.col("event_type") == "written:genre")
    assert new.select("user_id", "item_id").rows() == [(0, "written-0"), (2, "written-2")]
    assert written.catalogue.titles(pl.Series(["written-0"])).to_list() == ["Words about 2 films"]
    cases = written.split(SPLIT).test
    held_out = written.log().items.raw(cases.targets.values).to_list()
    assert held_out == [str((user + 3 + user % 2) % 5) for user in range(4)]
    plain = written.select(ViewConfig(event_types=["event"]))
    assert len(plain) == len(ROWS)
    again = Dataset.from_path(written.save(tmp_path / "written"))
    assert again.interactions.height == len(ROWS) + 2


def test_cold_items_get_events_where_the_model_decides() -> None:
    written = ColdPairs(ColdPairsConfig(pairs=6)).write(dataset(), Asker(ScriptedBackend(talk)), split=SPLIT)
    new = written.interactions.filter(pl.col("event_type") == "written:cold-pairs")
    assert 0 < new.height <= 4 * 3
    assert set(new["item_id"].to_list()) <= {5, 6, 7}
    assert new["timestamp"].to_list() == [0] * new.height
    full = Dataset.from_frame(dataset().interactions, catalogue=pl.DataFrame({"item_id": range(5), "title": list("abcde")}), name="full")
    with pytest.raises(DataError, match="has 0 items without training events"):
        ColdPairs(ColdPairsConfig()).write(full, Asker(ScriptedBackend(talk)), split=SPLIT)


def test_titles_are_needed() -> None:
    bare = Dataset.from_frame(dataset().interactions, name="bare")
    with pytest.raises(DataError, match="`bare` has no titles, so there is nothing to tell"):
        Kar(KarConfig()).write(bare, Asker(ScriptedBackend(talk)), split=SPLIT)


CASES = [RankCase(["a"], ["x", "y", "z"]), RankCase(["b"], ["x", "y", "z"])]


def obeys(prompt: Prompt) -> str:
    """Ranks the last candidate first once the instruction says so."""
    return "3, 2, 1" if "last first" in prompt.messages[0].content else "1, 2, 3"


def test_a_better_instruction_is_kept_and_a_worse_one_is_not() -> None:
    def rank_with(template, cases):
        ranker = ListWise(ListWiseConfig())
        ranker._template = template
        return ranker.rank(cases, Asker(ScriptedBackend(obeys))).orders

    writer = ScriptedBackend(["Rank {carefully}.", "Rank the last first.", "Rank as you like.", "   "])
    template, trials = improve_instruction(load_template("rank-list"), CASES, [2, 2], rank_with, Asker(writer), rounds=4)
    assert [round(trial.score, 2) for trial in trials] == [0.33, 0.33, 1.0, 0.33]
    assert template.section[0].text == "Rank the last first."
    assert '"b → z → x"' in writer.asked[0].text
    assert "Cases that it got wrong" in writer.asked[0].text
    assert '- "none"' in writer.asked[3].text
    with pytest.raises(UserError, match="2 cases have 1 right candidates"):
        improve_instruction(template, CASES, [2], rank_with, Asker(writer))


def test_braces_of_an_instruction_are_plain_signs() -> None:
    changed = with_instruction(load_template("rank-list"), "Use {nothing}.")
    assert ListWise(ListWiseConfig())._template != changed
    assert changed.version == 2
    assert changed.section[0].text.format() == "Use {nothing}."


def test_four_of_the_five_tasks() -> None:
    asker = Asker(ScriptedBackend(["4.5", "no idea", "1. Heat\n2. Alien", "", "Because it is  tense.", "Good but long"]))
    rated = [[("Heat", 5.0), ("Up", 2.5)], [("Big", 1.0)]]
    ratings = predict_ratings(rated, ["Alien", "Jaws"], asker)
    assert (ratings.values, ratings.backend, ratings.figures) == ([4.5, None], "scripted", {"answers read": 2, "format error": 0.5})
    grounding = catalogue_grounding(["Alien (1979)", "Up (2009)", "Heat (1995)"])
    named = name_next([["Up"], ["Big"]], asker, grounding, count=2, requests=["tense", ""])
    assert (named.lists.items.tolist(), named.written, named.backend) == ([[2, 0], [-1, -1]], [["Heat", "Alien"], None], "scripted")
    assert (named.figures["format error"], named.figures["hallucination"], named.figures["exact"]) == (0.5, 0.0, 1.0)
    assert explain([["Up"]], ["Heat"], asker).values == ["Because it is tense."]
    assert summarise_reviews(["A long review."], asker).values == ["Good but long"]
