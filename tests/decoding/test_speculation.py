"""Speculative search finds what beam search finds, whatever the draft guesses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsmith.data import Histories
from recsmith.decoding import BoundRules, CodeTrie, CountDraft, ModelDraft, beam_search, compare_lists, speculative_search
from recsmith.decoding.rules import Cap
from recsmith.errors import UserError
from recsmith.protocols import HistoryBatch, RankedLists
from recsmith.testing.decoders import DecoderConformance, DecodingCase, HashedCodeModel, decoding_case

SHAPES = st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple)


def counts(case: DecodingCase, seed: int = 0) -> CountDraft:
    random = np.random.default_rng(seed)
    histories = Histories.from_rows([random.integers(0, len(case.codes), size=6).tolist() for _ in range(30)])
    return CountDraft.learn(histories, len(case.codes))


class TestSpeculative(DecoderConformance):
    """The suite of decoders."""

    def decode(self, case: DecodingCase, k: int, *, beams: int) -> RankedLists:
        trie = CodeTrie.build(case.codes)
        return speculative_search(case.model, case.batch, trie, k, draft=counts(case), beams=beams, limits=case.limits)[0]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    sizes=SHAPES,
    beams=st.integers(1, 8),
    margin=st.sampled_from([1.0, 2.0, 5.0]),
    kind=st.sampled_from(["counts", "itself", "other"]),
    distinct=st.sampled_from([None, 1]),
    boosted=st.booleans(),
)
def test_strict_lists_are_those_of_beam_search(seed, sizes, beams, margin, kind, distinct, boosted):
    case = decoding_case(seed, sizes=sizes, distinct=distinct)
    trie = CodeTrie.build(case.codes)
    draft = {
        "counts": lambda: counts(case, seed),
        "itself": lambda: ModelDraft(case.model),
        "other": lambda: ModelDraft(HashedCodeModel(codes=case.codes, seed=seed + 1)),
    }[kind]()
    rules = BoundRules(len(case.codes), bonus=np.linspace(0, 2, len(case.codes), dtype=np.float32)) if boosted else None
    plain = beam_search(case.model, case.batch, trie, beams, beams=beams, limits=case.limits, rules=rules)
    lists, figures = speculative_search(
        case.model, case.batch, trie, beams, draft=draft, beams=beams, margin=margin, limits=case.limits, rules=rules
    )
    assert lists.items.tolist() == plain.items.tolist()
    np.testing.assert_allclose(lists.scores, plain.scores, atol=1e-5)
    assert 0 <= figures.accepted <= 1
    assert figures.passes <= max(figures.plain_passes, 0)


def test_a_perfect_draft_needs_one_pass_and_a_bad_one_costs_no_more_than_none():
    case = decoding_case(3, items=600, sizes=(8, 8, 8, 8))
    trie = CodeTrie.build(case.codes)
    perfect = speculative_search(case.model, case.batch, trie, 4, draft=ModelDraft(case.model), beams=4, margin=2.0)[1]
    other = ModelDraft(HashedCodeModel(codes=case.codes, seed=99))
    bad = speculative_search(case.model, case.batch, trie, 4, draft=other, beams=4, margin=1.0)[1]
    assert perfect.accepted == 1
    assert perfect.passes == 1
    assert 1 < bad.passes <= bad.plain_passes == 3
    assert bad.accepted < 0.5


def test_a_tolerant_search_saves_passes_and_its_loss_can_be_measured():
    case = decoding_case(3, items=600, sizes=(8, 8, 8, 8))
    trie = CodeTrie.build(case.codes)
    exact = beam_search(case.model, case.batch, trie, 5, beams=10)
    draft = ModelDraft(HashedCodeModel(codes=case.codes, seed=99))
    strict, before = speculative_search(case.model, case.batch, trie, 5, draft=draft, beams=10, margin=3.0)
    relaxed, after = speculative_search(case.model, case.batch, trie, 5, draft=draft, beams=10, margin=3.0, tolerance=0.9)
    assert after.passes < before.passes
    assert compare_lists(strict, exact) == 1
    assert 0 < compare_lists(relaxed, exact) < 1
    assert (relaxed.items >= 0).all()


def test_counts_prefer_what_followed():
    case = decoding_case(0)
    log = Histories.from_rows([[1, 7], [1, 7], [1, 9], [3, 4]])
    draft, trie = CountDraft.learn(log, len(case.codes), window=1), CodeTrie.build(case.codes)
    batch = HistoryBatch(torch.tensor([2, 1, 3]), torch.tensor([0, 2, 3, 3]))
    guess = draft.read(batch, trie)
    for level in range(trie.levels):
        nodes = torch.arange(trie.nodes(level)).expand(3, -1)
        child = torch.arange(trie.nodes(level + 1)).expand(3, -1)[:, None].expand(-1, nodes.shape[1], -1)
        best = guess(level, nodes, child)[:, 0]
        wanted = trie.ancestors(level + 1, trie.leaves_of[torch.tensor([7, 4])])
        assert best[:2].argmax(dim=1).tolist() == wanted.tolist()
        assert best.isfinite().all()


def test_mistakes_are_named():
    case = decoding_case(0)
    trie = CodeTrie.build(case.codes)
    with pytest.raises(ValueError, match="margin from 1 on"):
        speculative_search(case.model, case.batch, trie, 3, draft=counts(case), margin=0.5)
    capped = BoundRules(40, caps=(Cap(1, Histories.from_rows([[0]] * 40)),))
    with pytest.raises(UserError, match="use beam_search for them"):
        speculative_search(case.model, case.batch, trie, 3, draft=counts(case), rules=capped)
