"""Drawn lists have the distribution that they promise, and diverse beams avoid each other."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsmith.data import Catalogue, Histories, Vocabulary
from recsmith.decoding import (
    AtMost,
    BoundRules,
    CodeTrie,
    Diverse,
    ItemTable,
    OneOf,
    Sampled,
    beam_search,
    bind_rules,
    list_log_likelihood,
    score_all,
    top_k,
)
from recsmith.errors import UserError
from recsmith.protocols import HistoryBatch, Limits, RankedLists
from recsmith.testing.decoders import DecoderConformance, DecodingCase, HashedCodeModel, check_lists, decoding_case


class TestDiverse(DecoderConformance):
    """Diverse beams keep the promises of a decoder."""

    exhaustive = False

    def decode(self, case: DecodingCase, k: int, *, beams: int) -> RankedLists:
        return beam_search(
            case.model, case.batch, CodeTrie.build(case.codes), k, beams=beams, limits=case.limits, selection=Diverse(3, 2.0)
        )


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    k=st.integers(1, 12),
    beams=st.integers(1, 15),
    temperature=st.sampled_from([0.01, 1.0, 30.0]),
    nucleus=st.sampled_from([1e-9, 0.5, 1.0]),
)
def test_drawn_lists_are_valid_and_complete(seed, k, beams, temperature, nucleus):
    case = decoding_case(seed)
    how = Sampled(temperature, nucleus, seed=seed)
    answer = beam_search(case.model, case.batch, CodeTrie.build(case.codes), k, beams=beams, limits=case.limits, selection=how)
    for row, allowed in enumerate(case.allowed()):
        items = [item for item in answer.items[row].tolist() if item >= 0]
        assert len(set(items)) == len(items) == min(k, allowed.sum())
        assert allowed[items].all()


def tiny_case(rows: int) -> DecodingCase:
    """Five items and the same history in every row."""
    case = decoding_case(11, items=5, sizes=(2, 3, 2), rows=1)
    limits = Limits(exclude=Histories.from_rows([[int(case.codes.table.shape[0]) - 1]] * rows))
    return DecodingCase(case.codes, case.model, Histories.from_rows([[1, 2]] * rows), limits)


def exact_log_probabilities(case: DecodingCase, temperature: float) -> np.ndarray:
    """Of each item in a first draw, by walking the items of one row by hand."""
    allowed = case.row(0).allowed()[0]
    table, result = case.codes.table, np.full(len(case.codes), -np.inf)
    for item in np.flatnonzero(allowed):
        total = 0.0
        logits, state = case.model.step(case.model.prefill(case.row(0).batch), 0, None, None)
        for level, code in enumerate(table[item]):
            siblings = sorted(
                {other[level] for other, fine in zip(table, allowed) if fine and (other[:level] == table[item, :level]).all()}
            )
            logs = (logits[0, 0, siblings] / temperature).log_softmax(0)
            total += float(logs[siblings.index(code)])
            if level + 1 < table.shape[1]:
                logits, state = case.model.step(state, level + 1, torch.zeros(1, 1, dtype=torch.int64), torch.tensor([[code]]))
        result[item] = total
    return result


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_ordered_pairs_are_drawn_as_often_as_their_likelihood_says(temperature):
    rows = 4000
    case = tiny_case(rows)
    trie = CodeTrie.build(case.codes)
    answer = beam_search(case.model, case.batch, trie, 2, limits=case.limits, selection=Sampled(temperature, seed=5))
    exact = exact_log_probabilities(case, temperature)
    np.testing.assert_allclose(answer.scores, exact[answer.items], atol=1e-5)
    drawn = Counter(map(tuple, answer.items.tolist()))
    pairs = list(permutations(np.flatnonzero(exact > -np.inf).tolist(), 2))
    expected = np.exp(list_log_likelihood(exact[np.array(pairs)]))
    assert expected.sum() == pytest.approx(1, abs=1e-6)
    observed = np.array([drawn[pair] / rows for pair in pairs])
    assert np.abs(observed - expected).max() < 4 * np.sqrt(0.25 / rows)
    assert ((observed - expected) ** 2 / np.maximum(expected, 1e-3)).sum() * rows < 40


def test_scores_are_drawn_by_their_softmax():
    rows = 4000
    scores = torch.tensor([[1.0, 0.0, 2.0, -torch.inf]]).repeat(rows, 1)
    answer = top_k(scores, 2, sampled=Sampled(seed=1))
    logs = scores[0].log_softmax(0).numpy()
    np.testing.assert_allclose(answer.scores, logs[answer.items], atol=1e-5)
    first = np.bincount(answer.items[:, 0], minlength=4) / rows
    assert np.abs(first - np.exp(logs)).max() < 0.03
    assert set(map(tuple, answer.items.tolist())) == set(permutations([0, 1, 2], 2))


def test_the_seed_decides():
    case = decoding_case(5)
    free = DecodingCase(case.codes, case.model, case.histories, Limits())

    def draw(seed: int) -> list[list[int]]:
        return beam_search(free.model, free.batch, CodeTrie.build(free.codes), 6, selection=Sampled(seed=seed)).items.tolist()

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    how = Sampled(seed=3)
    assert top_k(torch.zeros(2, 30), 5, sampled=how).items.tolist() == top_k(torch.zeros(2, 30), 5, sampled=how).items.tolist()


def test_a_small_nucleus_and_a_low_temperature_take_the_best_codes():
    case = decoding_case(6)
    trie = CodeTrie.build(case.codes)
    greedy = beam_search(case.model, case.batch, trie, 1, beams=1, limits=case.limits, normalise="alive")
    for how in (Sampled(nucleus=1e-6), Sampled(temperature=1e-3)):
        drawn = beam_search(case.model, case.batch, trie, 1, limits=case.limits, selection=how)
        assert drawn.items.tolist() == greedy.items.tolist()


@pytest.mark.parametrize("seed", range(8))
def test_caps_hold_in_drawn_lists(seed):
    case = decoding_case(seed)
    frame = pl.DataFrame({"item_id": np.arange(40), "brand": np.arange(40) % 6, "kind": np.arange(40) % 4})
    table = ItemTable(Vocabulary(range(40)), Catalogue(frame))
    rules = bind_rules([AtMost(2, "brand"), AtMost(1, where=OneOf("kind", [1]))], table)
    answer = beam_search(
        case.model, case.batch, CodeTrie.build(case.codes), 8, limits=case.limits, rules=rules, selection=Sampled(seed=seed)
    )
    for items, allowed in zip(answer.items, case.allowed(), strict=True):
        left = allowed & ~np.isin(np.arange(40), items)
        for cap in rules.caps:
            groups = np.concatenate([cap.groups.row(item) for item in items[items >= 0]] or [np.zeros(0, dtype=np.int64)])
            held = np.bincount(groups, minlength=6)
            assert held.max() <= cap.count
            left &= np.array([all(held[group] < cap.count for group in cap.groups.row(item)) for item in range(40)])
        assert (items >= 0).all() or not left.any()


def test_likelihood_of_a_list_by_hand():
    logs = np.log(np.array([[0.5, 0.3, 0.2], [0.2, 0.8, 0.0 + 1e-300]]))
    logs[1, 2] = -np.inf
    expected = [np.log(0.5 * (0.3 / 0.5) * (0.2 / 0.2)), np.log(0.2 * (0.8 / 0.8))]
    np.testing.assert_allclose(list_log_likelihood(logs), expected, atol=1e-6)


def peaked_case() -> DecodingCase:
    """27 items whose first code is nearly always 0."""
    case = decoding_case(2, items=27, sizes=(3, 3, 3))
    case.model._logits[0][:] = torch.tensor([3.0, 0.0, -0.5])
    return DecodingCase(case.codes, case.model, case.histories, Limits())


def test_groups_look_elsewhere():
    case = peaked_case()
    trie = CodeTrie.build(case.codes)
    plain = beam_search(case.model, case.batch, trie, 6, beams=6)
    diverse = beam_search(case.model, case.batch, trie, 6, beams=6, selection=Diverse(3, penalty=5.0))
    check_lists(case, diverse)
    kinds = [[len({int(case.codes.table[item, 0]) for item in row}) for row in lists.items] for lists in (plain, diverse)]
    assert max(kinds[0]) == 1
    assert min(kinds[1]) == 3
    scores = score_all(case.model, case.batch, trie).numpy()
    np.testing.assert_allclose(diverse.scores, np.take_along_axis(scores, diverse.items, axis=1), atol=1e-5)


def test_one_group_is_plain_beam_search():
    case = decoding_case(9)
    trie = CodeTrie.build(case.codes)
    plain = beam_search(case.model, case.batch, trie, 6, beams=6, limits=case.limits)
    grouped = beam_search(case.model, case.batch, trie, 6, beams=6, limits=case.limits, selection=Diverse(1))
    assert grouped.items.tolist() == plain.items.tolist()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sampled(temperature=0), "temperature 0 is not above 0"),
        (lambda: Sampled(nucleus=0), "nucleus of 0 is not above 0"),
        (lambda: Sampled(nucleus=1.5), "at most 1"),
        (lambda: Diverse(groups=0), "0 groups cannot share"),
        (lambda: Diverse(penalty=-1), "give 0 or more"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_empty_batches():
    case = decoding_case(1)
    empty = HistoryBatch(torch.zeros(0, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))
    assert beam_search(case.model, empty, CodeTrie.build(case.codes), 3, selection=Sampled()).items.shape == (0, 3)
    assert top_k(torch.zeros(0, 4), 2, sampled=Sampled(), rules=BoundRules(4)).items.shape == (0, 2)
    assert isinstance(case.model, HashedCodeModel)
