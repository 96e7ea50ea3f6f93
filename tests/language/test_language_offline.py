from __future__ import annotations

from pathlib import Path

from recsmith.language import AnswerCache, Budget, Price, Prompt, Sampling, ScriptedBackend, ask
from recsmith.language.asker import Asker
from recsmith.language.dry_run import DryRun
from recsmith.language.embedded_profiles import template_profiles
from recsmith.language.rankers import RankCase
from recsmith.language.rankers.embedded import EncoderRanker
from recsmith.language.rankers.list_wise import ListWise, ListWiseConfig


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


def test_the_embedded_ranker_listens_to_history_and_words() -> None:
    import numpy as np

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
