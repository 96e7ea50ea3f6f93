"""Beam search keeps every promise, on random catalogues, limits and models."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsmith.data import Histories
from recsmith.decoding import CodeTrie, beam_search, score_all
from recsmith.errors import UserError
from recsmith.protocols import CodeModel, Limits
from recsmith.testing.decoders import DecoderConformance, DecodingCase, HashedCodeModel, check_lists, decoding_case

SHAPES = st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple)


class TestBeamSearch(DecoderConformance):
    """The shipped suite on the shipped decoder."""


def search(case: DecodingCase, k: int, beams: int, **options):
    return beam_search(case.model, case.batch, CodeTrie.build(case.codes), k, beams=beams, limits=case.limits, **options)


def test_the_suites_model_satisfies_the_protocol():
    assert isinstance(HashedCodeModel(codes=decoding_case(0).codes), CodeModel)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    sizes=SHAPES,
    items=st.integers(1, 60),
    k=st.integers(1, 12),
    beams=st.integers(1, 15),
    distinct=st.sampled_from([None, 0, 1]),
)
def test_lists_are_valid_and_complete_on_any_catalogue(seed, sizes, items, k, beams, distinct):
    case = decoding_case(seed, sizes=sizes, items=items, distinct=distinct)
    answer = search(case, k, beams)
    check_lists(case, answer)
    assert (answer.items >= 0).sum(axis=1).tolist() == np.minimum(case.allowed().sum(axis=1), k).tolist()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), sizes=SHAPES, beams=st.integers(1, 8), distinct=st.sampled_from([None, 1]))
def test_each_level_keeps_the_best_prefixes(seed, sizes, beams, distinct):
    case = decoding_case(seed, sizes=sizes, distinct=distinct)
    answer = search(case, beams, beams)
    for row in range(len(case.histories)):
        expected = plain_beam_search(case.row(row), beams)
        assert [item for item in answer.items[row].tolist() if item >= 0] == expected


def plain_beam_search(case: DecodingCase, beams: int) -> list[int]:
    """The same search for one row, with dictionaries and loops."""
    allowed = [(tuple(codes), item) for item, codes in enumerate(case.codes.table.tolist()) if case.allowed()[0, item]]
    kept = {(): 0.0}
    for level in range(case.codes.levels):
        prefixes = sorted({codes[: level + 1] for codes, _ in allowed if codes[:level] in kept})
        scores = {}
        for prefix in prefixes:
            logits = logits_after(case, prefix[:-1])
            scores[prefix] = np.float32(kept[prefix[:-1]] + logits.log_softmax(-1)[prefix[-1]].item())
        kept = dict(sorted(scores.items(), key=lambda entry: (-entry[1], entry[0]))[:beams])
    items = dict(allowed)
    return [items[codes] for codes in sorted(kept, key=lambda codes: (-kept[codes], items[codes]))]


def logits_after(case: DecodingCase, prefix: tuple[int, ...]) -> torch.Tensor:
    logits, state = case.model.step(case.model.prefill(case.batch), 0, None, None)
    for level, code in enumerate(prefix):
        logits, state = case.model.step(state, level + 1, torch.zeros(1, 1, dtype=torch.int64), torch.tensor([[code]]))
    return logits[0, 0]


def test_scores_of_all_items_are_probabilities_of_complete_catalogues():
    case = decoding_case(0, items=4 * 5 * 3, sizes=(4, 5, 3))
    total = score_all(case.model, case.batch, CodeTrie.build(case.codes)).exp().sum(dim=1)
    assert torch.allclose(total, torch.ones_like(total))


def test_normalising_over_what_is_alive_makes_probabilities_of_the_allowed_items():
    case = decoding_case(4, rows=4)
    answer = search(case, len(case.codes), len(case.codes), normalise="alive")
    check_lists(case, answer)
    total = np.exp(answer.scores).sum(axis=1)
    np.testing.assert_allclose(total, case.allowed().any(axis=1).astype(float), atol=1e-5)


def test_beams_are_raised_to_k():
    case = decoding_case(2)
    assert search(case, 9, 1).items.tolist() == search(case, 9, 9).items.tolist()


def test_codes_the_model_rules_out_come_last_but_come():
    case = decoding_case(7, distinct=1)
    for table in case.model._logits:
        table[:, 0] = -torch.inf
    check_lists(case, search(case, 40, 40))


def test_rows_without_limits_and_empty_batches():
    case = decoding_case(5)
    trie = CodeTrie.build(case.codes)
    assert (beam_search(case.model, case.batch, trie, 5).items >= 0).all()
    empty = DecodingCase(case.codes, case.model, Histories.from_rows([]), Limits())
    assert search(empty, 5, 5).items.shape == (0, 5)
    assert score_all(empty.model, empty.batch, trie).shape == (0, 40)


def test_unknown_excluded_items_are_skipped():
    case = decoding_case(5, rows=1)
    trie = CodeTrie.build(case.codes)
    plain = beam_search(case.model, case.batch, trie, 5)
    limited = beam_search(case.model, case.batch, trie, 5, limits=Limits(exclude=Histories.from_rows([[-1, -1]])))
    assert plain.items.tolist() == limited.items.tolist()


def test_mistakes_are_named():
    case = decoding_case(5)
    trie = CodeTrie.build(case.codes)
    with pytest.raises(ValueError, match="at least 1"):
        beam_search(case.model, case.batch, trie, 0)
    with pytest.raises(ValueError, match="2 rows of excluded items for a batch of 5"):
        beam_search(case.model, case.batch, trie, 3, limits=Limits(exclude=Histories.from_rows([[], []])))
    with pytest.raises(ValueError, match="the catalogue has 40 items"):
        beam_search(case.model, case.batch, trie, 3, limits=Limits(allowed=np.ones(3, dtype=bool)))
    with pytest.raises(ValueError, match="excluded item 40 is outside"):
        beam_search(case.model, case.batch, trie, 3, limits=Limits(exclude=Histories.from_rows([[40], [], [], [], []])))
    case.model._logits[1][:] = torch.nan
    with pytest.raises(UserError, match="lower its learning rate"):
        beam_search(case.model, case.batch, trie, 3)
