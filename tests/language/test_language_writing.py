"""Writers of words, edges and condensed histories, from `recsmith write` to a fit that reads them."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest

import recsmith
from recsmith.cli.program import execute
from recsmith.data import Dataset, SplitConfig, ViewConfig
from recsmith.errors import BudgetError, ConfigError, DataError, UserError
from recsmith.language import Prompt, ScriptedBackend
from recsmith.language.asker import Asker
from recsmith.language.extracts import extract
from recsmith.language.writers import training_histories
from recsmith.language.writers.companions import Companions
from recsmith.language.writers.genre import Genre, GenreConfig
from recsmith.language.writers.llm4msr import Llm4Msr, Llm4MsrConfig
from recsmith.language.writers.llmrec import LlmRecGraph, LlmRecGraphConfig
from recsmith.language.writers.tf_dcon import TfDcon, TfDconConfig
from recsmith.language.writers.writing import WritingConfig, write

SPLIT, VIEW = SplitConfig(), ViewConfig()


def halves(users: int = 24) -> Dataset:
    """Even people walk over even films, odd ones over odd films."""
    rows = [(user, user % 2 + 2 * ((user // 2 + step) % 8), step) for user in range(users) for step in range(6)]
    log = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    words = ["quiet", "loud"]
    catalogue = pl.DataFrame({
        "item_id": list(range(16)),
        "title": [f"{words[item % 2].title()} film {item}" for item in range(16)],
        "kind": [words[item % 2] for item in range(16)],
    })  # fmt: skip
    return Dataset.from_frame(log, catalogue=catalogue, name="halves")


def talk(prompt: Prompt) -> str:
    question = prompt.messages[-1].content
    numbered = [(int(number), title) for number, title in re.findall(r'(\d+)\. "(.+?)"', question)]
    if question.endswith("JSON:"):
        quiet = "Quiet" in question.partition("Candidates")[0]
        fits = [number for number, title in numbered if ("Quiet" in title) == quiet]
        return f'{{"liked": {fits[-1]}, "disliked": {fits[0]}}}' if len(fits) > 1 else "no idea"
    if question.endswith("Numbers:"):
        return ", ".join(str(number) for number, _ in numbered[2:6])
    if question.endswith("Topics:"):
        return "1. silence" if "Quiet" in question else "1. noise"
    if question.endswith("Regions:"):
        return "1. Wales"
    return f"Words on {question.count('ilm')} films"


def told_by(writer: str, data: Dataset, tmp_path: Path, backend: ScriptedBackend | None = None, **settings) -> Dataset:
    config = WritingConfig(name=writer, settings=settings, cache=str(tmp_path / "answers.sqlite"))
    return write(data, config, view=VIEW, split=SPLIT, default_cache=tmp_path, backend=backend or ScriptedBackend(talk))


def test_edges_come_from_the_pool_and_the_doubtful_ones_are_dropped() -> None:
    data = halves()
    histories = training_histories(data, SPLIT)
    companions = Companions(histories)
    assert companions.affinities(["nobody knows it"]) == {}
    written = LlmRecGraph(LlmRecGraphConfig(parts=["edges"], pool=4, pruned=0.25)).write(data, Asker(ScriptedBackend(talk)), split=SPLIT)
    record = written.source["written"][0]
    assert (record["written"], record["pruned"], record["unusable"]) == (18, 6, 0)
    events = written.written.events
    assert (events["user_id"] % 2 == events["item_id"] % 2).all()
    margins = {}
    for user, items in histories.items():
        pool = companions.pool(items, 4)
        assert not set(pool) & set(items)
        affinity = companions.affinities(items)
        margins[user] = affinity[pool[-1]] - affinity[pool[0]]  # what `talk` likes and dislikes
        chosen = events.filter(pl.col("user_id") == user)["item_id"].to_list()
        assert chosen in ([], [pool[-1]])
    kept = set(events["user_id"])
    assert min(margins[user] for user in kept) >= max(margins[user] for user in margins if user not in kept)


def test_edges_train_and_change_nothing_that_is_measured(tmp_path: Path) -> None:
    data = halves()
    written = told_by("llmrec", data, tmp_path)
    written.save(tmp_path / "written")
    again = Dataset.from_path(tmp_path / "written")
    plain, fed = recsmith.fit("popularity", data), recsmith.fit("popularity", again)
    assert (plain.popularity == fed.popularity).all()
    assert fed.card["augmentation"]["writer"] == "llmrec"
    assert len(again) == len(data)
    with pytest.raises(DataError, match="what `llmrec` wrote into `halves` comes from training events of leave-one-out"):
        recsmith.fit("popularity", again, settings={"split": {"name": "ratio"}})


def test_a_condensed_log_trains_alone_and_is_tested_on_everybody(tmp_path: Path) -> None:
    data = halves()
    written = told_by("tf-dcon", data, tmp_path, share=0.09, length=4)
    record = written.source["written"][-1]
    assert (record["written"], record["of people"], record["groups by frequency alone"]) == (2, 24, 0)
    events = written.written.events
    assert events["user_id"].n_unique() == 2
    for _, rows in events.group_by("user_id"):
        assert rows["item_id"].len() == 4
        assert (rows["item_id"] % 2 == rows["user_id"] % 2).all()
    prepared = recsmith.preparing.prepare(recsmith.fitting.resolve_recipe("ease", None), written, seed=0)
    lessons, enters = prepared.lessons()
    assert len(lessons.values) == len(enters) == 8
    assert len(lessons) == 24
    fitted = recsmith.fit("item-knn", written)
    assert fitted.card["augmentation"]["instead"] is True
    assert len(fitted.recommend(users="all", k=2)) == 48
    offline = TfDcon(TfDconConfig(parts=["people"], share=0.1)).write(
        data, Asker(ScriptedBackend(lambda prompt: "no numbers")), split=SPLIT
    )
    assert offline.source["written"][-1]["groups by frequency alone"] == offline.source["written"][-1]["written"] > 0


def test_scenarios_tell_of_each_other_and_people_of_their_parts(tmp_path: Path) -> None:
    backend = ScriptedBackend(talk)
    written = told_by("llm4msr", halves(), tmp_path, backend)
    assert written.catalogue.frame["llm4msr_scenario"].n_unique() == 1  # `talk` says the same of both
    asked = [prompt.text for prompt in backend.asked if "Part: " in prompt.text]
    assert len(asked) == 2
    assert 'Part: "quiet"' in asked[0]
    assert "loud: Loud film" in asked[0].partition("Other parts")[2]
    assert written.users["llm4msr_interests"].null_count() == 0
    with pytest.raises(DataError, match="has no column `kinds`; did you mean `kind`"):
        Llm4Msr(Llm4MsrConfig(scenario="kinds")).write(halves(), Asker(backend), split=SPLIT)


def test_the_other_columns(tmp_path: Path) -> None:
    data = halves()
    assert told_by("aspects", data, tmp_path).catalogue.frame["aspects"].null_count() == 0
    assert told_by("embsum", data, tmp_path).users["embsum_summary"].to_list()[0].startswith("Words on")
    assert told_by("mint", data, tmp_path, least=5).users["mint_request"].null_count() == 24  # training histories hold four
    regions = Genre(GenreConfig(parts=["regions"])).write(data, Asker(ScriptedBackend(talk)), split=SPLIT)
    assert regions.users["genre_regions"].to_list() == ["Wales"] * 24


def test_answers_are_kept_and_a_budget_ends_the_work(tmp_path: Path) -> None:
    first, second = ScriptedBackend(talk), ScriptedBackend(talk)
    told_by("aspects", halves(), tmp_path, first)
    told_by("aspects", halves(), tmp_path, second)
    assert (len(first.asked), len(second.asked)) == (16, 0)
    config = WritingConfig.parse({"name": "embsum", "budget": {"max_tokens": 900}, "cache": str(tmp_path / "other.sqlite")})
    with pytest.raises(BudgetError, match="the budget of 900 tokens is spent"):
        write(halves(), config, view=VIEW, split=SPLIT, default_cache=tmp_path, backend=first)
    asked = len(first.asked)
    richer = config.override(budget={"max_tokens": 100_000})
    write(halves(), richer, view=VIEW, split=SPLIT, default_cache=tmp_path, backend=first)
    assert len(first.asked) - asked < 24


def test_without_a_model_extracts_are_written_and_it_is_said() -> None:
    assert extract('Item: "A loud, loud film"\nItem: "film and fame"', 2) == "loud, film"
    assert execute(["write", "aspects", "--data", "world:users=20,items=30", "--out", "never", "--dry-run", "--set", "nothing=1"]) == 2


def test_a_recipe_writes_first_and_the_command_writes_for_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = halves()
    data.save(tmp_path / "data")
    words = ["write", "embsum", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    assert execute([*words, "--set", "max_history=3"]) == 0
    assert "users.embsum_summary: 24 by `none; extracts`" in capsys.readouterr().out
    told = Dataset.from_path(tmp_path / "out")
    assert told.users["embsum_summary"].to_list()[0] == "quiet, film"
    plan = {"writing": {"name": "embsum"}, "encoder": {"name": "tfidf", "dim": 8}}
    fitted = recsmith.fit("content-knn", told, settings=plan)
    assert len(fitted.card["data"]["source"]["written"]) == 1  # what stands there is not written again
    fresh = recsmith.fit("content-knn", data, settings=plan)
    assert fresh.card["data"]["source"]["written"][0]["backend"] == "none; extracts"
    with pytest.raises(UserError, match="unknown language writer `embsun`; did you mean `embsum`"):
        recsmith.fit("content-knn", data, settings={"writing": {"name": "embsun"}})
    with pytest.raises(ConfigError, match=r"unknown setting `writing\.settings\.max_histori`"):
        recsmith.fit("content-knn", data, settings={"writing": {"name": "embsum", "settings": {"max_histori": 1}}})
    other = {"split": {"name": "ratio"}, "encoder": {"name": "tfidf", "dim": 8}}
    with pytest.raises(DataError, match="what `embsum` wrote into `halves` comes from training events of leave-one-out"):
        recsmith.fit("content-knn", told, settings=other)
    assert fitted.recommend(users=[0], k=3)["score"].is_finite().all()


def test_recipes_that_want_scenarios_or_cold_items(tmp_path: Path) -> None:
    data = halves()
    small = {"training": {"epochs": 1}, "encoder": {"name": "tfidf", "dim": 8}}
    fitted = recsmith.fit("llm4msr", data, settings={**small, "model": {"dim": 8, "layers": 1, "hidden": 8, "meta_hidden": 4}})
    assert fitted.card["people's texts"]["people"] == 24
    assert fitted.model.figures()["items of scenarios"] == [8, 8]
    with pytest.raises(DataError, match="texts make 16 scenarios, and LLM4MSR takes 2 to 4"):
        recsmith.fit("llm4msr", data, settings={**small, "text": "{title}", "model": {"dim": 8, "scenarios": 4}})
    fitted.save(tmp_path / "run")
    assert recsmith.load(tmp_path / "run").recommend(users="all", k=3).equals(fitted.recommend(users="all", k=3))
    with pytest.raises(DataError, match="`halves` has 0 items without training events"):
        recsmith.fit("cold-item-augmenter", data, settings=small)
    warm = Dataset.from_frame(data.interactions.filter(pl.col("item_id") < 12), catalogue=data.catalogue.frame, name="cold")
    cold = recsmith.fit("cold-item-augmenter", warm, settings={**small, "model": {"dim": 8, "layers": 1, "hidden": 8, "experts": 2}})
    assert cold.items > 12
