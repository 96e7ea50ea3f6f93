"""Questions of likelihood go the way of all prompts: asked once, kept, counted, within a budget, and a failed one does not end the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsmith.data import Histories
from recsmith.data.item_facts import ItemFacts
from recsmith.errors import BackendError, BudgetError, UserError
from recsmith.language import AnswerCache, Budget, Prompt, ScriptedBackend
from recsmith.language.asker import Asker
from recsmith.language.dry_run import DryRun
from recsmith.language.likelihood_questions import LikelihoodQuestion
from recsmith.language.rankers import RankCase, Ranked
from recsmith.language.rankers.interest_series import InterestSeries, InterestSeriesConfig
from recsmith.language.rankers.likelihood import Likelihood, LikelihoodConfig
from recsmith.language.rankers.rella import Rella, RellaConfig
from recsmith.language.shelf import Shelf

TEXTS = ["War one", "War two", "Love one", "Love two"]
DAY = 86_400.0


def vectors(texts) -> np.ndarray:
    return np.array([["War" in text, "Love" in text] for text in texts], dtype=np.float32)


SHELF = Shelf(TEXTS, ItemFacts([[text.split()[0]] for text in TEXTS], [None] * 4), vectors, Histories.from_rows([[]]))


class Judge(ScriptedBackend):
    """Counts what it is asked; likes continuations that stand late in the alphabet; refuses contexts that hold `refused`."""

    def __init__(self, *, name: str = "judge", refused: str = "nothing at all") -> None:
        super().__init__([], name=name)
        self.questions: list[tuple[str, tuple[str, ...]]] = []
        self.refused = refused

    async def log_likelihood(self, context: str, continuations: tuple[str, ...]) -> list[float]:
        self.questions.append((context, continuations))
        if self.refused in context:
            raise BackendError(f"{self.name} does not read {self.refused}")
        places = {text: place for place, text in enumerate(sorted(continuations))}
        return [-1.0 / 3 - len(places) + places[text] for text in continuations]


def case(history: list[int], candidates: list[int]) -> RankCase:
    told, shown = [TEXTS[item] for item in history], [TEXTS[item] for item in candidates]
    return RankCase(told, shown, items=history, candidate_items=candidates, times=[DAY * day for day in range(len(history))])


CASES = [case([0, 2], [1, 3]), case([1, 3], [2, 0]), case([2, 3], [0, 1])]
RANKERS: dict[str, Callable[[], Likelihood | InterestSeries | Rella]] = {
    "likelihood": lambda: Likelihood(LikelihoodConfig()),
    "likelihood, less a prior": lambda: Likelihood(LikelihoodConfig(normalise="prior")),
    "interest-series": lambda: InterestSeries(InterestSeriesConfig(steps=2)),
    "rella": lambda: Rella(RellaConfig(answer="probability")),
}


def ranked(name: str, asker: Asker, cases: list[RankCase] = CASES) -> Ranked:
    ranker = RANKERS[name]()
    if not isinstance(ranker, Likelihood):
        ranker.look_at(SHELF)
    return ranker.rank(cases, asker)


@pytest.mark.parametrize("name", RANKERS)
def test_a_second_run_asks_nothing_and_all_of_it_is_counted(name: str, tmp_path: Path) -> None:
    first, second = Judge(), Judge()
    with AnswerCache(tmp_path / "answers.sqlite") as cache:
        one, other = Asker(first, cache=cache), Asker(second, cache=cache)
        before, after = ranked(name, one), ranked(name, other)
    assert len(first.questions) == len(set(first.questions)) > 0, "a question that comes twice is asked once"
    assert second.questions == []
    assert after == before
    figures, again = one.figures(), other.figures()
    assert figures["asked"] == figures["calls"] == len(first.questions)
    assert figures["prompt_tokens"] >= sum(len(context.split()) for context, _ in first.questions)
    assert figures["answer_tokens"] == 0, "nothing is generated"
    assert (again["asked"], again["calls"], again["prompt_tokens"]) == (0, 0, 0)
    assert again["cached"] + again["repeated"] == again["prompts"] == figures["prompts"]


def test_the_key_of_a_question_holds_model_context_and_continuations(tmp_path: Path) -> None:
    question = LikelihoodQuestion("Movies like ", ("Up", "Heat"))
    others = [replace(question, context="Books like "), replace(question, continuations=("Heat", "Up"))]
    judge, namesake = Judge(), Judge(name="another judge")
    with AnswerCache(tmp_path / "answers.sqlite") as cache:
        asker = Asker(judge, cache=cache)
        assert asker.log_likelihoods([question]) == asker.log_likelihoods([question]) == [[-1.0 / 3 - 2 + 1, -1.0 / 3 - 2]]
        asker.log_likelihoods(others)
        assert len(judge.questions) == 3
        Asker(namesake, cache=cache).log_likelihoods([question])
        assert len(namesake.questions) == 1
        writer = ScriptedBackend(lambda prompt: "written", name="judge")
        assert Asker(writer, cache=cache).ask([question.prompt]) == ["written"], "no likelihood is taken for a generated answer"


@pytest.mark.parametrize(("name", "refused"), [("likelihood", "War two"), ("likelihood, less a prior", "War two"), ("rella", "War two")])
def test_a_question_without_an_answer_leaves_its_list_as_it_was(name: str, refused: str) -> None:
    kept, whole = Asker(Judge(refused=refused), on_failure="keep"), Asker(Judge())
    cases = [CASES[0], CASES[1], CASES[2]] if name != "rella" else [case([0], [3, 2]), case([1], [2, 0]), case([2], [0, 3])]
    found, expected = ranked(name, kept, cases), ranked(name, whole, cases)
    assert found.orders == [expected.orders[0], [0, 1], expected.orders[2]]
    assert found.figures["left as retrieved"] == pytest.approx(1 / 3)
    assert expected.figures["left as retrieved"] == 0
    assert kept.figures()["failed"] == (2 if name == "rella" else 1)
    assert kept.figures()["first failure"] == f"judge does not read {refused}"
    with pytest.raises(BackendError, match="judge does not read"):
        ranked(name, Asker(Judge(refused=refused)), cases)


def test_a_series_without_an_answer_leaves_its_list_as_it_was() -> None:
    asker = Asker(Judge(refused="9 9 , 0 0 ,"), on_failure="keep")
    found = ranked("interest-series", asker, [case([2, 3], [0, 3]), case([0, 2], [1, 3])])
    assert found.orders[1] == [0, 1]
    assert found.figures["left as retrieved"] == 0.5


def test_a_budget_ends_the_questions_and_the_next_run_goes_on(tmp_path: Path) -> None:
    judge = Judge()
    with AnswerCache(tmp_path / "answers.sqlite") as cache:
        with pytest.raises(BudgetError, match="the budget of 50 tokens is spent"):
            ranked("likelihood", Asker(judge, cache=cache, budget=Budget(max_tokens=50)))
        asked = len(judge.questions)
        assert 0 < asked < len(CASES)
        ranked("likelihood", Asker(judge, cache=cache, budget=Budget(max_tokens=8000)))
    assert len(judge.questions) == len(CASES)


@pytest.mark.parametrize("name", RANKERS)
def test_a_dry_run_counts_the_questions_and_asks_none(name: str, tmp_path: Path) -> None:
    judge, real = Judge(), Judge()
    with AnswerCache(tmp_path / "answers.sqlite") as cache:
        dry = Asker(DryRun(judge, cache=cache))
        assert ranked(name, dry).orders == [[0, 1]] * 3
        asker = Asker(real, cache=cache)
        ranked(name, asker)
        assert judge.questions == []
        assert dry.figures()["asked"] >= asker.figures()["asked"]
        known = Asker(DryRun(judge, cache=cache))
        ranked(name, known)
        assert (known.figures()["asked"], known.figures()["prompt_tokens"]) == (0, 0)


def test_backends_without_likelihoods_and_with_too_few_are_refused() -> None:
    plain = Asker(ScriptedBackend(lambda prompt: "x"))
    assert not plain.knows_likelihoods
    assert not Asker(DryRun(ScriptedBackend([]))).knows_likelihoods
    with pytest.raises(UserError, match="scripted knows no likelihoods; use a local model"):
        plain.log_likelihoods([LikelihoodQuestion("a", ("b",))])

    class Short(Judge):
        async def log_likelihood(self, context: str, continuations: tuple[str, ...]) -> list[float]:
            return [0.0]

    with pytest.raises(BackendError, match="judge judged 1 of 2 texts; it must judge each of them"):
        Asker(Short()).log_likelihoods([LikelihoodQuestion("a", ("b", "c"))])


def test_a_prompt_of_likelihoods_is_counted_whole() -> None:
    prompt = LikelihoodQuestion("four words stand here", ("one", "two more")).prompt
    assert [message.content for message in prompt.messages] == ["four words stand here", "one", "two more"]
    assert prompt.key("m") != Prompt.of("four words stand here").key("m")
