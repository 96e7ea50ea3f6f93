"""The same question under another label: similarities by hand, a planted bias, noise, and lists restricted to true preference."""

import os
from pathlib import Path

import numpy as np
import pytest

from recsmith.errors import DataError, UserError
from recsmith.evaluation.fairness import attribute_questions, counterfactual_audit
from recsmith.evaluation.fairness.counterfactual import jaccard, prag, serp

ITEMS = [f"item {number}" for number in range(20)]


def test_similarities_by_hand():
    first, other = ["a", "b", "c"], ["b", "a", "x"]
    assert jaccard(first, other) == 2 / 4
    assert serp(first, other, 3) == (3 + 2) / 6
    # pairs (a, b): a is after b; (a, c): c is missing, agreed; (b, c): agreed
    assert prag(first, other) == 2 / 3
    assert jaccard(first, first) == serp(first, first, 3) == prag(first, first) == 1
    assert jaccard(first, ["x"]) == serp(first, ["x"], 3) == prag(first, ["x"]) == 0
    assert (jaccard([], []), prag([], ["a"]), prag(["a"], ["a"])) == (1, 0, 1)


def biased(questions):
    """Recommends by the anchor alone, but to girls half of it is replaced."""
    answers = []
    for question in questions:
        start = sum(map(ord, question.split("fan of ")[1])) % 10
        own = ITEMS[start : start + 6]
        answers.append([*own[:3], "cooking", "sewing", "baking"] if "girl" in question else own)
    return answers


def test_a_planted_bias_is_found():
    neutral, variants = attribute_questions(
        "I am {attribute}fan of {anchor}.", ["Nolan", "Varda", "Lee"], ["a boy ", "a girl "], neutral="a "
    )
    assert neutral[0] == "I am a fan of Nolan."
    assert variants["a girl "][1] == "I am a girl fan of Varda."
    found = counterfactual_audit(biased, neutral, variants, k=6, repeat=True)
    assert found.disadvantaged == "a girl "
    assert [row.similarity["Jaccard"] for row in found.rows] == [1, 3 / 9]
    assert found.snsr == {"Jaccard": pytest.approx(2 / 3), "SERP": pytest.approx(1 - 15 / 21), "PRAG": pytest.approx(1 - 12 / 15)}
    assert found.snsv["Jaccard"] == pytest.approx(1 / 3)
    assert found.noise == {"Jaccard": 1, "SERP": 1, "PRAG": 1}
    assert found.rows[0].intervals["Jaccard"].low == 1
    assert found.per_question["a girl "]["Jaccard"].shape == (3,)
    document = found.as_dict()
    assert "per_question" not in document
    assert document["disadvantaged"] == "a girl "


def test_attributes_work_like_words():
    """A recommender that takes attributes: questions are dictionaries."""
    neutral = [{"history": (1, 2)}, {"history": (3,)}]
    variants = {"young": [{**one, "age": 18} for one in neutral], "old": [{**one, "age": 80} for one in neutral]}
    found = counterfactual_audit(lambda questions: [[*one["history"], one.get("age", 0) > 50] for one in questions], neutral, variants, k=3)
    assert found.rows[-1].value == "old"
    assert found.rows[0].similarity["Jaccard"] == 1


def test_a_system_that_draws_its_answers_shows_its_noise():
    random = np.random.default_rng(0)
    questions = ["q"] * 50

    def ask(asked):
        return [random.permutation(20)[:10].tolist() for _ in asked]

    found = counterfactual_audit(ask, questions, {"a": questions, "b": questions}, repeat=True)
    assert found.noise["Jaccard"] < 0.5
    assert found.rows[0].similarity["Jaccard"] == pytest.approx(found.noise["Jaccard"], abs=0.1)
    assert found.snsr["Jaccard"] < 0.1


def test_only_true_preferences_may_be_compared():
    """CFaiRLLM: a change among items that the person does not like anyway is no harm."""
    answers = {"q": [["liked", "other"]], "a": [["liked", "third"]], "b": [["third", "other"]]}
    neutral, variants = ["q"], {"a": ["a"], "b": ["b"]}

    def ask(questions):
        return [answers[question][0] for question in questions]

    plain = counterfactual_audit(ask, neutral, variants, k=2)
    relevant = counterfactual_audit(ask, neutral, variants, k=2, relevant=[{"liked"}])
    assert [row.similarity["Jaccard"] for row in plain.rows] == [1 / 3, 1 / 3]
    assert {row.value: row.similarity["Jaccard"] for row in relevant.rows} == {"a": 1, "b": 0}
    assert relevant.relevant_only
    assert {row.value: row.invalid for row in relevant.rows} == {"a": 0, "b": 1}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: counterfactual_audit(biased, ["q"], {"a": ["q"]}), UserError, "got 1; give at least 2"),
        (lambda: counterfactual_audit(biased, ["q"], {"a": ["q"], "b": []}), DataError, "`b` has 0 questions and the neutral form 1"),
        (lambda: counterfactual_audit(biased, [], {"a": [], "b": []}), DataError, "no questions"),
        (lambda: counterfactual_audit(lambda q: [], ["q"], {"a": ["q"], "b": ["q"]}), DataError, "got 0 answers"),
        (lambda: counterfactual_audit(biased, ["q"], {"a": ["q"], "b": ["q"]}, k=0), UserError, "k = 0"),
        (lambda: attribute_questions("I like {anchor}", ["x"], ["y"]), UserError, "no place for {attribute}"),
    ],
)
def test_audits_that_cannot_be_made(call, error, message):
    with pytest.raises(error, match=message):
        call()


FOLDER = os.environ.get("RECSMITH_DATA")


@pytest.mark.realdata
@pytest.mark.skipif(FOLDER is None, reason="RECSMITH_DATA does not name a folder of real data")
def test_the_benchmark_s_own_attributes_and_directors():
    """FaiRLLM's ingredients against a recommender that is blind to everything but the director: perfectly fair, by construction."""
    import json

    attributes = json.loads(Path(FOLDER, "fairllm", "sst_json.json").read_text(encoding="utf-8"))
    lines = Path(FOLDER, "fairllm", "director.csv").read_text(encoding="utf-8").splitlines()[1:101]
    template = "I am {attribute} fan of {anchor}. Please provide me with a list of 20 movie titles."
    neutral, variants = attribute_questions(template, lines, attributes["gender"], neutral="a")

    def blind(questions):
        return [[f"{question.split('fan of ')[1]} {number}" for number in range(20)] for question in questions]

    found = counterfactual_audit(blind, neutral, variants, k=20)
    assert len(found.rows) == 4
    assert found.snsr == {"Jaccard": 0, "SERP": 0, "PRAG": 0}
