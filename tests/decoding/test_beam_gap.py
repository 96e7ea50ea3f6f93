"""The gap is nothing with as many beams as items, and grows as beams are taken away."""

from __future__ import annotations

import pytest

from recsmith.data import Histories
from recsmith.decoding import CodeTrie, beam_gap, gap, score_all, top_k
from recsmith.testing.decoders import decoding_case


def test_no_gap_with_a_full_beam_and_more_with_fewer():
    case = decoding_case(1, items=300, sizes=(8, 8, 8), rows=20)
    trie = CodeTrie.build(case.codes)
    best = top_k(score_all(case.model, case.batch, trie), 1, limits=case.limits).items[:, 0]
    targets = Histories.from_rows([[item] if item >= 0 else [] for item in best.tolist()])
    full, wide, narrow = (
        beam_gap(case.model, case.batch, trie, 5, beams=beams, limits=case.limits, targets=targets) for beams in (300, 30, 5)
    )
    assert (full["Overlap@5"], full["Identical@5"], full["RecallGap@5"]) == (1, 1, 0)
    assert full["LostLogProbability@5"] == pytest.approx(0, abs=1e-5)
    assert full["ExactRecall@5"] == narrow["ExactRecall@5"] == 1
    assert 1 >= wide["Overlap@5"] > narrow["Overlap@5"] > 0
    assert narrow["RecallGap@5"] == pytest.approx(1 - narrow["Recall@5"])
    assert narrow["LostLogProbability@5"] > wide["LostLogProbability@5"] >= -1e-5


def test_the_figures_do_not_depend_on_how_many_rows_are_scored_at_a_time(monkeypatch: pytest.MonkeyPatch):
    case = decoding_case(2, items=300, sizes=(8, 8, 8), rows=7)
    trie = CodeTrie.build(case.codes)
    targets = Histories.from_rows([[row] for row in range(7)])
    together = beam_gap(case.model, case.batch, trie, 5, beams=5, limits=case.limits, targets=targets)
    asked = []
    monkeypatch.setattr(gap, "_CELLS", 3 * max(trie.nodes(2) * 8, 1))
    monkeypatch.setattr(gap, "score_all", lambda model, batch, trie: asked.append(len(batch)) or score_all(model, batch, trie))
    assert beam_gap(case.model, case.batch, trie, 5, beams=5, limits=case.limits, targets=targets) == pytest.approx(together)
    assert asked == [3, 3, 1]
