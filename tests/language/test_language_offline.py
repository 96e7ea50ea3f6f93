from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

import recsmith
from recsmith import fitting
from recsmith.data.item_facts import ItemFacts
from recsmith.data.world import world
from recsmith.language import AnswerCache, Budget, Price, Prompt, Sampling, ScriptedBackend, ask
from recsmith.language.asker import Asker
from recsmith.language.dry_run import DryRun
from recsmith.language.embedded_profiles import template_profiles
from recsmith.language.rankers import RankCase, Ranked
from recsmith.language.rankers.embedded import EncoderRanker
from recsmith.language.rankers.list_wise import ListWise, ListWiseConfig
from recsmith.language.rankers.profile import Profile, ProfileConfig
from recsmith.language.shelf import Shelf


def test_a_dry_run_of_a_whole_system_asks_nothing_and_bounds_the_cost(tmp_path: Path) -> None:
    backend = ScriptedBackend(lambda prompt: "2, 1")
    backend.price = Price(prompt_per_million=1000, answer_per_million=2000)  # type: ignore[attr-defined]
    cases = [RankCase([f"Film {number}"], ["a", "b"]) for number in range(5)]
    with AnswerCache(tmp_path / "answers.sqlite") as cache:
        ListWise(ListWiseConfig()).rank(cases[:2], Asker(backend, cache=cache))
        dry = Asker(DryRun(backend, cache=cache))
        ranked = ListWise(ListWiseConfig()).rank(cases, dry)
        assert len(backend.asked) == 2
        real = Asker(backend, cache=cache)
        ListWise(ListWiseConfig()).rank(cases, real)
    assert ranked.orders == [[1, 0]] * 2 + [[0, 1]] * 3
    assert dry.figures()["backend"] == "dry run of scripted"
    assert dry.figures()["answer_tokens"] == 3 * 256
    assert dry.figures()["prompt_tokens"] == real.figures()["prompt_tokens"]
    assert dry.figures()["money"] > real.figures()["money"] > 0


def test_a_dry_run_respects_no_budget_but_can_be_compared_with_one() -> None:
    dry = DryRun(ScriptedBackend([]))
    answers = ask([Prompt.of("q", sampling=Sampling(max_tokens=100))], dry, budget=Budget(max_tokens=200))
    assert answers.figures["answer_tokens"] == 100


def test_profiles_without_a_language_model() -> None:
    histories = [["Heat", "Up", "Alien", "Jaws"], [], ["Big"]]
    kinds = [[["Crime"], ["Animation", "Comedy"], ["Horror"], ["Horror"]], [], [[]]]
    assert template_profiles(histories, kinds) == [
        "Takes Horror (50%), Crime (25%), Animation (25%). Took most recently: Jaws; Alien; Up.",
        "Nothing is known of this person.",
        "Took most recently: Big.",
    ]


def test_the_profile_ranker_ranks_by_the_template_alone_where_nobody_speaks() -> None:
    titles = ["Alien", "Jaws", "Up"]
    facts = ItemFacts([["Horror"], ["Horror", "Sea"], ["Comedy"]], [None] * 3)
    ranker = Profile(ProfileConfig())
    ranker.look_at(Shelf(titles, facts, np.array))
    asked: list[RankCase] = []

    def by_likeness(cases: Sequence[RankCase]) -> Ranked:
        asked.extend(cases)
        return Ranked([[1, 0]] * len(cases), {})

    cases = [RankCase(["Alien", "Jaws"], ["a", "b"], items=[0, 1]), RankCase([], ["a", "b"]), RankCase(["Up"], ["a", "b"])]
    ranked = ranker.rank_offline(cases, by_likeness)
    assert ranked.orders == [[1, 0]] * 3
    assert ranked.notes == [
        "Takes Horror (100%), Sea (50%). Took most recently: Jaws; Alien.",
        "Nothing is known of this person.",
        "Took most recently: Up.",
    ]
    assert [case.request for case in asked] == [ranked.notes[0], "", ranked.notes[2]]
    assert not any(case.history for case in asked)


def test_the_profile_recipe_writes_profiles_of_a_small_world_offline(tmp_path: Path) -> None:
    data = world(users=120, items=60, events=2_400, seed=0).dataset
    settings = {"model": {"encoder": {"name": "tfidf", "dim": 64}, "candidates": 10}}
    card = fitting.run("language-profile", data, out=tmp_path / "run", settings=settings)
    assert card["language"]["backend"].startswith("none; templates; hashed-tfidf-v1 (dim 64, frequencies of 60 texts")
    assert card["language"]["cases"] > 100
    loaded = recsmith.load(tmp_path / "run")
    history = [loaded.log.items.ids[item] for item in (3, 9, 4)]
    answer = loaded.recommend(histories=[history], k=5)
    assert answer["backend"].to_list() == [card["language"]["backend"]] * 5
    texts, facts = loaded.model.table.texts, loaded.model.facts.facts
    (profile,) = loaded.model.notes
    assert profile == template_profiles([[texts[item] for item in (3, 9, 4)]], [[facts.categories[item] for item in (3, 9, 4)]])[0]
    assert profile.startswith("Takes ")
    assert profile.endswith(f"Took most recently: {texts[4]}; {texts[9]}; {texts[3]}.")
    assert loaded.model.figures()["backend"] == card["language"]["backend"]


def test_the_embedded_ranker_listens_to_history_and_words() -> None:
    def vectors(texts: list[str]) -> np.ndarray:
        return np.array([["war" in text, "love" in text] for text in texts], dtype=np.float32)

    cases = [
        RankCase(["war one", "war two"], ["love a", "war b"]),
        RankCase(["war one"], ["war b", "love a"], request="love please, only love"),
        RankCase([], ["x", "war y"]),
    ]
    ranker = EncoderRanker(vectors)
    assert ranker.rank(cases).orders == [[1, 0], [1, 0], [0, 1]]
    assert ranker.rank([]).orders == []


def test_one_candidate_has_one_order() -> None:
    asker = Asker(ScriptedBackend(lambda prompt: "1"))
    assert ListWise(ListWiseConfig(permutations=2)).rank([RankCase(["h"], ["a"])], asker).orders == [[0]]
