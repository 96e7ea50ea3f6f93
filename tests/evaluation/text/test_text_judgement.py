"""Faithfulness and judges: planted citations, planted position bias, agreement against worked examples."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from recsmith.errors import DataError
from recsmith.evaluation.text import agreement, faithfulness, judge_pairs
from recsmith.evaluation.text.faithfulness import Cited

EVIDENCE = tuple(f"fact{number}" for number in range(6))


def test_true_and_decorative_citations_are_told_apart():
    def uses_first(evidence):
        return f"because of {evidence[0]}" if "fact0" in evidence else "no idea whatsoever"

    honest = faithfulness([Cited(EVIDENCE, (0,), uses_first)] * 10)
    decorative = faithfulness([Cited(EVIDENCE, (3,), uses_first)] * 10)
    assert honest.comprehensiveness == 1
    assert honest.sufficiency == 0
    assert honest.control == 0
    assert honest.advantage == 1
    assert decorative.comprehensiveness == 0
    assert decorative.sufficiency == 1
    assert decorative.advantage <= 0
    assert honest.as_dict()["advantage"] == 1


def test_half_a_change_counts_half():
    found = faithfulness([Cited(("a", "b"), (0,), lambda evidence: "it has " + " ".join(evidence))])
    assert found.comprehensiveness == pytest.approx(1 - 6 / 7)
    everything = faithfulness([Cited(("a",), (0,), lambda evidence: "same")])
    assert np.isnan(everything.control)


def test_citations_that_are_not_there_are_refused():
    with pytest.raises(DataError, match=r"an answer cites \[7\] of 6 pieces of evidence"):
        faithfulness([Cited(EVIDENCE, (7,), str)])
    with pytest.raises(DataError, match=r"cites \[\]"):
        faithfulness([Cited(EVIDENCE, (), str)])
    with pytest.raises(DataError, match="no answers with citations"):
        faithfulness([])


# ---- judges ----------------------------------------------------------------------------------------------------------------


def by_length(question, first, second):
    return "tie" if len(first) == len(second) else "first" if len(first) > len(second) else "second"


def test_a_fair_judge():
    found = judge_pairs(by_length, ["q"] * 4, ["long text", "long text", "x", "same"], ["x", "x", "longer", "same"])
    assert (found.wins, found.losses, found.ties) == (0.5, 0.25, 0.25)
    assert (found.swapped, found.first_place) == (0, 0.5)
    assert found.verdicts == ("a", "a", "b", "tie")
    assert "verdicts" not in found.as_dict()


def test_a_judge_who_likes_the_first_place_decides_nothing():
    found = judge_pairs(lambda question, first, second: "first", ["q"] * 20, ["a"] * 20, ["b"] * 20)
    assert (found.wins, found.losses, found.ties) == (0, 0, 1)
    assert (found.swapped, found.first_place, found.p_value) == (1, 1, 1)


def test_many_wins_are_no_chance():
    assert judge_pairs(by_length, ["q"] * 12, ["long"] * 12, ["x"] * 12).p_value < 0.01


def test_judges_that_do_not_answer():
    with pytest.raises(DataError, match="the judge answered 'both'; allowed: 'first', 'second', 'tie'"):
        judge_pairs(lambda *_: "both", ["q"], ["a"], ["b"])
    with pytest.raises(DataError, match="do not fit"):
        judge_pairs(by_length, ["q"], ["a"], [])


def test_kappa_equals_scikit_learn():
    random = np.random.default_rng(0)
    first = random.choice(["a", "b", "tie"], 200).tolist()
    second = [label if keep else "tie" for label, keep in zip(first, random.random(200) < 0.6, strict=True)]
    found = agreement(first, second)
    assert found.kappa == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)
    assert found.share == pytest.approx(np.mean([a == b for a, b in zip(first, second, strict=True)]))
    assert (agreement(first, first).kappa, agreement(first, first).alpha) == (1, 1)


def test_alpha_of_krippendorff_s_own_example():
    """Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", section C: nominal data, four observers, gaps; α = .743."""
    a = [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None]
    b = [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3]
    c = [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None]
    d = [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None]
    found = agreement(a, b, c, d)
    assert found.alpha == pytest.approx(0.743, abs=5e-4)
    assert found.items == 11
    assert np.isnan(found.kappa)


def test_agreement_needs_common_items():
    with pytest.raises(DataError, match="two raters or more"):
        agreement([1, 2])
    with pytest.raises(DataError, match="no item has two labels"):
        agreement([1, None], [None, 2])
