"""Rankers that learn from solved cases, on scripted models of which it is known what helps."""

from __future__ import annotations

import re

import numpy as np
import pytest

from recsmith.data import Histories
from recsmith.data.item_facts import ItemFacts
from recsmith.errors import BudgetError, UserError
from recsmith.language import Budget, Prompt, ScriptedBackend
from recsmith.language.asker import Asker
from recsmith.language.policies import Choice, SoftmaxPolicy
from recsmith.language.prompt_optimisation import OptimisationConfig
from recsmith.language.rankers import RankCase
from recsmith.language.rankers.case import LearningRanker
from recsmith.language.rankers.coral import Coral, CoralConfig
from recsmith.language.rankers.po4isr import Po4isr, Po4isrConfig
from recsmith.language.rankers.re2llm import Re2llm, Re2llmConfig
from recsmith.language.rankers.recprompt import RecPrompt, RecPromptConfig
from recsmith.language.shelf import Shelf

CASES = [
    RankCase([f"{one} 1", f"{one} 2"], [f"{other} 3", f"{one} 4", f"{other} 5"]) for one, other in [("War", "Love"), ("Love", "War")] * 5
]
RIGHT = [1] * len(CASES)


def numbered(prompt: Prompt) -> list[tuple[str, str]]:
    return re.findall(r'^(\d+)\. "(.+)"$', prompt.messages[-1].content.partition("Candidates:")[2], flags=re.MULTILINE)


def by_genre(prompt: Prompt) -> str:
    """The order that is right: what the person took first."""
    took = "War" if "War 1" in prompt.messages[-1].content.partition("Candidates:")[0] else "Love"
    return ", ".join(number for number, text in sorted(numbered(prompt), key=lambda entry: took not in entry[1]))


def needs_an_instruction(prompt: Prompt) -> str:
    question, system = prompt.messages[-1].content, prompt.messages[0].content
    if question.endswith("Numbers, best first:"):
        return by_genre(prompt) if "{genre}" in system else "3, 1, 2"
    if question.endswith("Reasons:"):
        assert '→ War 4 → Love 5"' in question or '→ Love 4 → War 5"' in question
        return "they forget the genre"
    if question.endswith("In other words:"):
        return "Ponder; answer with numbers."
    return "Judge by the {genre} alone; answer with numbers."


def po4isr() -> Po4isr:
    return Po4isr(Po4isrConfig(search=OptimisationConfig(rounds=1, beam=2, refinements=1, trials=4)))


@pytest.mark.parametrize("made", [po4isr, lambda: RecPrompt(RecPromptConfig(rounds=1))], ids=["po4isr", "recprompt"])
def test_an_instruction_that_helps_is_found_and_kept(made) -> None:
    ranker, asker = made(), Asker(ScriptedBackend(needs_an_instruction))
    assert isinstance(ranker, LearningRanker)
    assert ranker.rank(CASES, asker).orders[0] == [2, 0, 1]
    figures = ranker.learn(CASES, RIGHT, asker)
    assert figures["score of the first prompt"] == pytest.approx(1 / 3)
    assert figures["score of the best prompt"] == 1.0
    again = made()
    again.restore(ranker.learned())
    assert again.learned() == ranker.learned() == "Judge by the {genre} alone; answer with numbers."
    ranked = again.rank(CASES, asker)
    assert [order[0] for order in ranked.orders] == RIGHT


@pytest.mark.parametrize("made", [po4isr, lambda: RecPrompt(RecPromptConfig(initial="written"))], ids=["po4isr", "recprompt"])
def test_where_nothing_better_is_found_the_first_instruction_stays(made) -> None:
    ranker, before = made(), made().learned()
    ranker.learn(CASES, RIGHT, Asker(ScriptedBackend(lambda prompt: by_genre(prompt) if numbered(prompt) else "")))
    assert ranker.learned() == before
    with pytest.raises(UserError, match="0 cases have 0 right candidates"):
        ranker.learn([], [], Asker(ScriptedBackend([])))


def test_a_first_instruction_may_be_written() -> None:
    ranker, asker = RecPrompt(RecPromptConfig(initial="written", rounds=1)), Asker(ScriptedBackend(needs_an_instruction))
    assert ranker.learn(CASES, RIGHT, asker)["score of the first prompt"] == 1.0


def test_learning_ends_with_the_budget() -> None:
    with pytest.raises(BudgetError, match="the budget of 2,000 tokens is spent"):
        po4isr().learn(CASES, RIGHT, Asker(ScriptedBackend(needs_an_instruction), budget=Budget(max_tokens=2000)))


def genre_vectors(texts) -> np.ndarray:
    return np.array([["War" in text, "Love" in text, 1.0] for text in texts], dtype=np.float32)


def test_a_hint_goes_to_those_whom_it_helps() -> None:
    def script(prompt: Prompt) -> str:
        """The hint helps with war, and does harm with love."""
        question = prompt.messages[-1].content
        if question.endswith("Hint:"):
            return "Mind the war." if 'took next: "War 4"' in question else "Nothing to say."
        good = ("War 1" in question.partition("Candidates:")[0]) == ("Mind the war." in question)
        return "2, 1, 3" if good else "1, 3, 2"

    facts = ItemFacts([()], [None])
    made = [Re2llm(Re2llmConfig(rounds=8)), Re2llm(Re2llmConfig())]
    for ranker in made:
        ranker.look_at(Shelf([""], facts, genre_vectors))
    asker = Asker(ScriptedBackend(script))
    figures = made[0].learn(CASES, RIGHT, asker)
    assert (figures["reflections"], figures["hints"]) == (5, 1)
    made[1].restore(made[0].learned())
    for ranker in made:
        ranked = ranker.rank(CASES, asker)
        assert ranked.notes == ["Mind the war.", ""] * 5
        assert [order[0] for order in ranked.orders] == RIGHT


def test_without_errors_there_are_no_hints() -> None:
    ranker = Re2llm(Re2llmConfig())
    ranker.look_at(Shelf([""], ItemFacts([()], [None]), genre_vectors))
    assert ranker.learn(CASES, RIGHT, Asker(ScriptedBackend(by_genre)))["hints"] == 0
    assert ranker.rank(CASES, Asker(ScriptedBackend(by_genre))).figures["hinted"] == 0


LONG_TAIL = ["seen", "also seen", "hit", "rare", "other"]


def coral(**settings) -> Coral:
    """Most people who share something took the hit; one who shares less took the rare item, which is the right one."""
    ranker = Coral(CoralConfig(**({"evidence": 1, "rounds": 12} | settings)))
    people = Histories.from_rows([[0, 1, 2], [0, 1, 2], [1, 0, 2], [0, 3], [4], [0, 1, 3]])
    ranker.look_at(Shelf(LONG_TAIL, ItemFacts([()] * 5, [None] * 5), genre_vectors, people))
    return ranker


def believes_evidence(prompt: Prompt) -> str:
    told = re.findall(r'- "somebody who also took .* took (\w+)"', prompt.messages[-1].content)
    return ", ".join(number for number, _ in sorted(numbered(prompt), key=lambda entry: entry[1] not in told))


def test_evidence_that_helps_is_learned() -> None:
    case = RankCase(["seen", "also seen"], ["hit", "rare", "other"], items=[0, 1], candidate_items=[2, 3, 4])
    ranker, asker = coral(), Asker(ScriptedBackend(believes_evidence))
    pool = ranker.pool(case, but=[0, 1, 3])
    assert [(one.person, one.place, one.shared) for one in pool] == [(0, 0, [0, 1]), (1, 0, [0, 1]), (2, 0, [0, 1]), (3, 1, [0])]
    assert ranker.rank([case], asker).orders[0][0] == 0
    figures = ranker.learn([case] * 8, [1] * 8, asker)
    assert figures["score without evidence"] == 0.5
    assert figures["gain of drawn evidence"] > 0.25
    again = coral()
    again.restore(ranker.learned())
    ranked = again.rank([case], asker)
    assert ranked.orders == [[1, 0, 2]]
    assert ranked.figures["evidence"] == 1.0


def test_a_policy_takes_what_pays_and_does_not_run_away() -> None:
    options, policy = np.eye(2), SoftmaxPolicy(2)
    policy.improve([Choice(options, 0, 0.5, 1.0)], steps=1000)
    first = policy.probabilities(options)[0]
    assert 0.6 < first < 0.7, "clipped where the ratio has left 1.2"
    for _ in range(30):
        policy.improve([Choice(options, 0, float(policy.probabilities(options)[0]), 1.0)])
    assert policy.best(options) == 0
    assert policy.probabilities(options)[0] > 0.9
