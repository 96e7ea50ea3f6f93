"""Rankers on a scripted model that knows the truth: it prefers candidates of the genre that stands most often in the history."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsmith.config import Config
from recsmith.data import Histories
from recsmith.data.item_facts import ItemFacts
from recsmith.errors import BackendError, UserError
from recsmith.language import AnswerCache, Budget, Prompt, ScriptedBackend
from recsmith.language.asker import Asker
from recsmith.language.demonstrations import Demonstrations
from recsmith.language.rankers import RANKERS, RankCase, Ranked
from recsmith.language.rankers.coral import Coral, CoralConfig
from recsmith.language.rankers.drdt import Drdt, DrdtConfig
from recsmith.language.rankers.lifelong import Lifelong, LifelongConfig
from recsmith.language.rankers.likelihood import Likelihood, LikelihoodConfig
from recsmith.language.rankers.list_wise import ListWise, ListWiseConfig
from recsmith.language.rankers.next_poi import NextPoi, NextPoiConfig
from recsmith.language.rankers.nir import Nir, NirConfig
from recsmith.language.rankers.pair_wise import PairWise, PairWiseConfig
from recsmith.language.rankers.po4isr import Po4isr, Po4isrConfig
from recsmith.language.rankers.point_wise import PointWise, PointWiseConfig
from recsmith.language.rankers.profile import Profile, ProfileConfig
from recsmith.language.rankers.re2llm import Re2llm, Re2llmConfig
from recsmith.language.rankers.recprompt import RecPrompt, RecPromptConfig
from recsmith.language.rankers.rella import Rella, RellaConfig
from recsmith.language.rankers.temporal import Temporal, TemporalConfig
from recsmith.language.shelf import Shelf

SAID = [
    RankCase(["War one", "War two", "Love one"], ["Love four", "War three", "Love five", "War six"]),
    RankCase(["Love one"], ["War three", "Love four"]),
    RankCase(["Love one", "Love two"], ["War six", "War three", "Love five", "Love four", "War seven"]),
]
REFUSED = RankCase(["War forbidden"], ["Love forbidden", "War forbidden too"])
GENRES = ("War", "Love")
TEXTS = sorted({text for case in [*SAID, REFUSED] for text in (*case.history, *case.candidates)})


def looked_up(case: RankCase) -> RankCase:
    """The case with item numbers, and a day between events."""
    numbers = [[TEXTS.index(text) for text in texts] for texts in (case.history, case.candidates)]
    return replace(case, items=numbers[0], candidate_items=numbers[1], times=[86_400.0 * day for day in range(len(case.history))])


CASES = [looked_up(case) for case in SAID]


def best_orders() -> list[list[int]]:
    return [[1, 3, 0, 2], [1, 0], [2, 3, 0, 1, 4]]


def taste(text: str) -> str:
    counts = Counter(word for word in re.findall(r"\w+", text) if word in GENRES)
    return counts.most_common(1)[0][0] if counts else "none"


def truthful(prompt: Prompt) -> str:
    question = prompt.messages[-1].content
    before, _, after = question.partition("Candidates:")
    if "Number:" in question:
        history, _, candidate = question.partition("Candidate:")
        return "5" if taste(history) in candidate else "1"
    if "Letter:" in question:
        history, _, pair = question.partition("\nA: ")
        first, second = pair.split("\nB: ")
        good = [taste(history) in text for text in (first, second)]
        return "A" if good[0] > good[1] else "B" if good[1] > good[0] else "both are good"
    if not after:
        return f"Titles of {taste(question)}, {taste(question)}" if "Numbers:" not in question else "1"
    entries = re.findall(r"^(\d+)\. (.+)$", after, flags=re.MULTILINE)
    ordered = sorted(entries, key=lambda entry: taste(before) not in entry[1])
    return ", ".join(number for number, _ in ordered)


def genre_vectors(texts: Sequence[str]) -> np.ndarray:
    return np.array([[genre in text for genre in GENRES] for text in texts], dtype=np.float32)


SHELF = Shelf(
    TEXTS, ItemFacts([[text.split()[0]] for text in TEXTS], [(50.0, 8.0 + 0.1 * item) for item in range(len(TEXTS))]), genre_vectors
)


def looking(ranker):
    """A ranker that looks things up, in front of the shelf (nobody else took anything)."""
    ranker.look_at(replace(SHELF, people=Histories.from_rows([[]])))
    return ranker


MADE = {
    "list-wise": ListWise(ListWiseConfig()),
    "list-wise, permuted": ListWise(ListWiseConfig(permutations=5)),
    "list-wise, recency and demonstrations": ListWise(ListWiseConfig(recency=False, demonstrations=1)),
    "near cold start": ListWise(ListWiseConfig(template="preferences-only")),
    "point-wise": PointWise(PointWiseConfig()),
    "pair-wise, all pairs": PairWise(PairWiseConfig(scheme="all-pairs")),
    "pair-wise, sliding": PairWise(PairWiseConfig()),
    "nir": Nir(NirConfig()),
    "profile": Profile(ProfileConfig()),
    "drdt": Drdt(DrdtConfig()),
    "temporal": Temporal(TemporalConfig()),
    "next place": looking(NextPoi(NextPoiConfig())),
    "rella": looking(Rella(RellaConfig())),
    "lifelong": looking(Lifelong(LifelongConfig())),
    "po4isr": Po4isr(Po4isrConfig()),
    "recprompt": RecPrompt(RecPromptConfig()),
    "re2llm": looking(Re2llm(Re2llmConfig())),
    "coral": looking(Coral(CoralConfig())),
}


@pytest.mark.parametrize("name", MADE)
def test_every_ranker_finds_the_right_order_and_keeps_the_retrievers_among_equals(name: str) -> None:
    ranked = MADE[name].rank(CASES, Asker(ScriptedBackend(truthful)))
    good = [[genre in text for genre, text in zip([taste(" ".join(case.history))] * 9, case.candidates)] for case in CASES]
    for order, case, right in zip(ranked.orders, CASES, good, strict=True):
        assert sorted(order) == list(range(len(case.candidates)))
        assert [right[place] for place in order] == sorted(right, reverse=True)
    if "permuted" not in name:
        assert ranked.orders == best_orders()


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("answer", ["I would rather not say.", "", "99, 98", "No Such Film\nAnother"])
def test_unreadable_answers_leave_the_retrievers_order_and_are_counted(name: str, answer: str) -> None:
    ranked = MADE[name].rank(CASES, Asker(ScriptedBackend(lambda prompt: answer)))
    assert ranked.orders == [list(range(len(case.candidates))) for case in CASES]
    assert ranked.figures["format error"] == 1.0
    assert ranked.figures["left as retrieved"] == 0.0, "there are answers"


def refusing(prompt: Prompt) -> str:
    if "forbidden" in prompt.text:
        raise BackendError("it does not speak of that")
    return truthful(prompt)


@pytest.mark.parametrize("name", MADE)
def test_a_case_whose_prompts_fail_keeps_the_retrievers_order_and_is_counted(name: str) -> None:
    refused = looked_up(REFUSED)
    asker = Asker(ScriptedBackend(refusing), on_failure="keep")
    ranked = MADE[name].rank([CASES[0], refused, CASES[2]], asker)
    assert ranked.orders[1] == [0, 1], "the answer would have been [1, 0]"
    if "permuted" not in name:
        assert [ranked.orders[0], ranked.orders[2]] == [best_orders()[0], best_orders()[2]]
    assert ranked.figures["left as retrieved"] == pytest.approx(1 / 3)
    assert asker.figures()["failed"] > 0
    assert asker.figures()["first failure"] == "it does not speak of that"
    with pytest.raises(BackendError, match="it does not speak of that"):
        MADE[name].rank([CASES[0], refused], Asker(ScriptedBackend(refusing)))


def test_one_failed_prompt_of_many_about_a_case_counts_as_undecided() -> None:
    def script(prompt: Prompt) -> str:
        if "Love four" in prompt.messages[-1].content.partition("Candidate:")[2]:
            raise BackendError("no")
        return truthful(prompt)

    asker = Asker(ScriptedBackend(script), on_failure="keep")
    ranked = PointWise(PointWiseConfig()).rank(CASES[:1], asker)
    assert ranked.orders == [[1, 3, 0, 2]], "5, 5, the mean 11 / 3, and 1"
    assert (asker.figures()["failed"], ranked.figures["left as retrieved"]) == (1, 0.0)


@pytest.mark.parametrize("name", MADE)
def test_no_cases_cost_nothing(name: str) -> None:
    backend = ScriptedBackend(truthful)
    assert MADE[name].rank([], Asker(backend)).orders == []
    assert backend.asked == []


def test_the_registry_names_them_all() -> None:
    for name in RANKERS:
        made = RANKERS.get(name)
        assert issubclass(made.Config, Config)
        assert isinstance(made(made.Config()).config, made.Config)


def test_titles_answered_in_the_place_of_numbers_are_found() -> None:
    ranked = MADE["list-wise"].rank(CASES[:1], Asker(ScriptedBackend(["1. War six\n2. Alien\n3. love FIVE"])))
    assert ranked.orders == [[3, 2, 0, 1]]
    assert ranked.figures["hallucination"] == pytest.approx(1 / 3)
    assert ranked.figures["incomplete"] == 1.0


def test_a_model_that_always_takes_the_first_is_found_out_and_cured() -> None:
    first = ScriptedBackend(lambda prompt: "1, 2, 3, 4, 5")
    biased = ListWise(ListWiseConfig(permutations=40)).rank(CASES[2:], Asker(first))
    assert biased.figures["position correlation"] == pytest.approx(1.0)
    fair = ListWise(ListWiseConfig(permutations=40)).rank(CASES[2:], Asker(ScriptedBackend(truthful)))
    assert abs(fair.figures["position correlation"]) < 0.7
    pairs = PairWise(PairWiseConfig(scheme="all-pairs")).rank(CASES, Asker(ScriptedBackend(lambda prompt: "A")))
    assert pairs.figures["inconsistent"] == 1.0
    assert pairs.orders == [list(range(len(case.candidates))) for case in CASES]


def test_the_orders_shown_belong_to_the_case_and_are_all_different() -> None:
    together, alone = ScriptedBackend(truthful), ScriptedBackend(truthful)
    ranker = ListWise(ListWiseConfig(permutations=10))
    ranker.rank(CASES, Asker(together))
    for case in reversed(CASES):
        ranker.rank([case], Asker(alone))
    texts = [{prompt.text for prompt in backend.asked} for backend in (together, alone)]
    assert texts[0] == texts[1], "the answers are found again, whoever else is asked about"
    assert len(texts[0]) == len(together.asked) == 10 + 2 + 10, "two candidates have two orders"


def test_recency_and_demonstrations_stand_in_the_prompt() -> None:
    backend = ScriptedBackend(truthful)
    ListWise(ListWiseConfig(recency=True, demonstrations=2)).rank(CASES[:1], Asker(backend))
    assert 'They took the last one most recently: "Love one"' in backend.asked[0].text
    assert '- "War one, War two → Love one"' in backend.asked[0].text
    shown = Demonstrations(["War a", "Love b"], ["War c", "Love d"], genre_vectors)
    backend = ScriptedBackend(truthful)
    ListWise(ListWiseConfig(demonstrations=1), demonstrations=shown).rank(CASES[1:2], Asker(backend))
    assert '- "Love b → Love d"' in backend.asked[0].text


def test_calibration_takes_off_what_everybody_likes() -> None:
    def blockbuster(prompt: Prompt) -> str:
        question = prompt.messages[-1].content
        score = 4 if "three" in question.partition("Candidate:")[2] else 2
        return str(score + (0 if "nothing is known" in question else "four" in question.partition("Candidate:")[2]))

    plain = PointWise(PointWiseConfig()).rank(CASES[1:2], Asker(ScriptedBackend(blockbuster)))
    fair = PointWise(PointWiseConfig(calibrate=True)).rank(CASES[1:2], Asker(ScriptedBackend(blockbuster)))
    assert (plain.orders, fair.orders) == ([[0, 1]], [[1, 0]])


class Likely(ScriptedBackend):
    async def log_likelihood(self, context: str, continuations: tuple[str, ...]) -> list[float]:
        return [-len(text) + 5.0 * (taste(context) in text) for text in continuations]


def test_likelihoods_rank_and_need_a_backend_that_knows_them() -> None:
    cases = [RankCase(["War one"], ["Love", "War two and a half"])]
    for normalise, order in {"none": [0, 1], "length": [1, 0], "prior": [1, 0]}.items():
        ranked = Likelihood(LikelihoodConfig(normalise=normalise)).rank(cases, Asker(Likely([])))
        assert ranked.orders == [order]
    with pytest.raises(UserError, match="needs a backend that knows likelihoods; scripted does not: use a local model"):
        Likelihood(LikelihoodConfig()).rank(cases, Asker(ScriptedBackend([])))


def test_reflection_tells_the_truth_and_uses_the_corrected_analysis() -> None:
    backend = ScriptedBackend(truthful)
    Drdt(DrdtConfig(reflections=1), similar=lambda histories: [["War nine"] for _ in histories]).rank(CASES[:1], Asker(backend))
    analyse, guess, reflect, rank = (prompt.text for prompt in backend.asked)
    assert '"War nine"' in analyse
    assert '"Love one"' not in guess
    assert 'Really taken next: "Love one"' in reflect
    assert 'Analysis of their taste: "Titles of War' in rank


def test_profiles_can_be_read_and_changed() -> None:
    profile = Profile(ProfileConfig())
    asker = Asker(ScriptedBackend(truthful))
    assert profile.profiles([["War one"]], asker, disliked=[["Love one", "War two"]]) == ["Titles of War, War"]
    assert profile.rank_by(["Love above all"], CASES[:1], asker).orders == [[0, 2, 1, 3]]


def test_an_asker_keeps_one_account_and_one_cache(tmp_path: Path) -> None:
    with AnswerCache(tmp_path / "answers.sqlite") as cache:
        backend = ScriptedBackend(truthful)
        first = Asker(backend, cache=cache, budget=Budget(max_tokens=100_000))
        before: Ranked = MADE["nir"].rank(CASES, first)
        figures = first.figures()
        assert (figures["backend"], figures["asked"], figures["cached"]) == ("scripted", 9, 0)
        assert figures["prompt_tokens"] == first.ledger.prompt_tokens > 0
        again = Asker(backend, cache=cache)
        assert MADE["nir"].rank(CASES, again).orders == before.orders
        assert (again.figures()["asked"], again.figures()["cached"]) == (0, 9)
    assert len(backend.asked) == 9
