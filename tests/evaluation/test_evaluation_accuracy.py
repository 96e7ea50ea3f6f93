"""Accuracy metrics: equal to ir-measures on random lists, and to hand-worked values where it has no say."""

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import AP, RR, P, R, Success, nDCG

from recsmith.data import Histories
from recsmith.errors import DataError, UserError
from recsmith.evaluation import evaluate_lists
from recsmith.protocols import RankedLists

REFERENCE = {"Recall": R, "Hit": Success, "NDCG": nDCG, "MRR": RR, "MAP": AP, "Precision": P}


def lists_of(rows, width=None):
    width = max([len(row) for row in rows], default=0) if width is None else width
    items = np.full((len(rows), width), -1, dtype=np.int64)
    for row, values in enumerate(rows):
        items[row, : len(values)] = values
    return RankedLists(items, -np.arange(items.size, dtype=np.float32).reshape(items.shape))


@st.composite
def ranked_cases(draw):
    """Catalogue size, lists without repetitions (some empty or short), non-empty targets, ascending cutoffs."""
    item_count = draw(st.integers(2, 30))
    item = st.integers(0, item_count - 1)
    cases = draw(st.integers(1, 6))
    rows = [draw(st.lists(item, unique=True, max_size=12)) for _ in range(cases)]
    targets = [draw(st.lists(item, unique=True, min_size=1, max_size=8)) for _ in range(cases)]
    cutoffs = draw(st.sets(st.integers(1, 12), min_size=1, max_size=3))
    return item_count, rows, targets, tuple(sorted(cutoffs))


def reference(rows, targets, cutoffs):
    """ir-measures, rank given as score; a case without a list is added as 0, as trec_eval's complete mode does."""
    qrels = [ir_measures.Qrel(str(case), str(item), 1) for case, row in enumerate(targets) for item in row]
    run = [ir_measures.ScoredDoc(str(case), str(item), -float(rank)) for case, row in enumerate(rows) for rank, item in enumerate(row)]
    measures = {f"{name}@{k}": measure @ k for name, measure in REFERENCE.items() for k in cutoffs}
    values = {name: np.zeros(len(rows)) for name in measures}
    if run:
        names = {str(measure): name for name, measure in measures.items()}
        for metric in ir_measures.iter_calc(list(measures.values()), qrels, run):
            values[names[str(metric.measure)]][int(metric.query_id)] = metric.value
    return values


@settings(max_examples=150, deadline=None)
@given(ranked_cases())
def test_equals_ir_measures_for_every_case_and_in_the_mean(drawn):
    item_count, rows, targets, cutoffs = drawn
    found = evaluate_lists(lists_of(rows, width=12), Histories.from_rows(targets), item_count=item_count, ks=cutoffs)
    for name, expected in reference(rows, targets, cutoffs).items():
        np.testing.assert_allclose(found.per_case[name], expected, atol=1e-6, err_msg=name)
        assert found.metrics[name] == pytest.approx(expected.mean(), abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(ranked_cases())
def test_bounds_and_growth_with_the_cutoff(drawn):
    item_count, rows, targets, cutoffs = drawn
    found = evaluate_lists(lists_of(rows, width=12), Histories.from_rows(targets), item_count=item_count, ks=cutoffs)
    for name in REFERENCE:
        values = np.stack([found.per_case[f"{name}@{k}"] for k in cutoffs])
        assert ((values >= 0) & (values <= 1 + 1e-12)).all()
        if name in {"Recall", "Hit", "MRR", "MAP"}:
            assert (np.diff(values, axis=0) >= -1e-12).all()


def test_hand_worked_list():
    """Hits at ranks 2 and 4 of 5, three targets."""
    found = evaluate_lists(lists_of([[9, 1, 8, 2, 7]]), Histories.from_rows([[1, 2, 3]]), item_count=10, ks=(5,)).metrics
    assert found["Recall@5"] == pytest.approx(2 / 3)
    assert found["Precision@5"] == pytest.approx(2 / 5)
    assert found["MRR@5"] == pytest.approx(1 / 2)
    assert found["MAP@5"] == pytest.approx((1 / 2 + 2 / 4) / 3)
    ideal = 1 + 1 / np.log2(3) + 1 / np.log2(4)
    assert found["NDCG@5"] == pytest.approx((1 / np.log2(3) + 1 / np.log2(5)) / ideal)
    assert found["Hit@5"] == 1


def test_cases_without_targets_are_left_out_and_cases_without_answer_count_zero():
    lists = lists_of([[0, 1], [0, 1], []])
    found = evaluate_lists(lists, Histories.from_rows([[0], [], [0]]), item_count=3, ks=(2,))
    assert np.isnan(found.per_case["NDCG@2"][1])
    assert found.per_case["NDCG@2"][2] == 0
    assert found.metrics["Recall@2"] == pytest.approx(0.5)
    assert found.cases == 3
    assert found.figures["answered"] == pytest.approx(2 / 3)


def test_repeated_item_takes_its_place_but_counts_once():
    found = evaluate_lists(lists_of([[1, 1, 2]]), Histories.from_rows([[1, 2]]), item_count=3, ks=(2, 3))
    assert found.metrics["Recall@2"] == pytest.approx(0.5)
    assert found.metrics["Recall@3"] == 1
    assert found.metrics["MAP@3"] == pytest.approx((1 + 2 / 3) / 2)
    assert found.figures["repeated_items"] == 1


def test_repeated_target_counts_once_and_unknown_target_is_never_hit():
    lists = lists_of([[4, -1, 0], [0, 1, 2]])
    found = evaluate_lists(lists, Histories.from_rows([[0, 0], [-1, 0]]), item_count=5, ks=(3,))
    np.testing.assert_allclose(found.per_case["Recall@3"], [1, 0.5])
    assert found.per_case["NDCG@3"][0] == pytest.approx(0.5)


def test_targets_of_neighbouring_cases_do_not_mix():
    """The last item of one case and the first of the next have neighbouring keys."""
    found = evaluate_lists(lists_of([[0], [2]]), Histories.from_rows([[2], [0]]), item_count=3, ks=(1,))
    assert found.metrics["Recall@1"] == 0


def test_no_targets_at_all():
    found = evaluate_lists(lists_of([[0, 1]]), Histories.from_rows([[]]), item_count=3, ks=(1,))
    assert np.isnan(found.metrics["NDCG@1"])


@pytest.mark.parametrize(
    ("lists", "ks", "error", "message"),
    [
        (lists_of([[0, 3]]), (1,), DataError, r"item index 3 but the catalogue has 3 items"),
        (lists_of([[0, -2]]), (1,), DataError, r"item index -2"),
        (lists_of([[0], [1]]), (1,), DataError, r"do not fit 1 cases"),
        (RankedLists(np.zeros((1, 2)), np.zeros((1, 2))), (1,), DataError, r"type float64 do not fit"),
        (lists_of([[0, 1]]), (3,), DataError, r"k = 3 is above the length of the longest list, 2; give ks up to 2"),
        (lists_of([[0, 1]]), (0, 1), UserError, r"ks=\(0, 1\) do not work"),
        (lists_of([[0, 1]]), (), UserError, r"ks=\(\) do not work"),
    ],
)
def test_bad_input_is_one_clear_error(lists, ks, error, message):
    with pytest.raises(error, match=message):
        evaluate_lists(lists, Histories.from_rows([[0]]), item_count=3, ks=ks)
