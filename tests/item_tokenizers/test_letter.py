from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from recsmith.data import Histories
from recsmith.errors import DataError, UserError
from recsmith.item_tokenizers.collaborative import co_occurrence, collaborative_vectors
from recsmith.item_tokenizers.letter import Letter, LetterConfig, _LetterTerms
from recsmith.nn.quantizers import ResidualQuantizer
from recsmith.testing.tokenizers import ItemTokenizerTests

SMALL = {
    "size": 16, "device": "cpu", "hidden": (32,), "latent": 8, "epochs": 10, "warm_up_epochs": 5, "batch_size": 64,
    "learning_rate": 8e-3, "clusters": 4,
}  # fmt: skip


def groups(items: int, count: int, *, rows: int = 300, seed: int = 0) -> Histories:
    """Each row holds items of one group alone: those whose number leaves the same rest when divided by `count`."""
    random = np.random.default_rng(seed)
    members = [np.arange(items)[np.arange(items) % count == group] for group in range(count)]
    return Histories.from_rows([random.choice(members[row % count], 6) for row in range(rows) if len(members[row % count])])


class ObservedLetter(Letter):
    """Has always observed histories of as many items as it is fitted on."""

    def fit(self, vectors: np.ndarray, **settings: Any) -> Any:
        self.observe(groups(len(vectors), 8))
        return super().fit(vectors, **settings)


class TestLetterConformance(ItemTokenizerTests):
    def make(self, **overrides: Any) -> Letter:
        return ObservedLetter(LetterConfig.parse({**SMALL, **overrides}))


def test_co_occurrence_counts_pairs_by_their_distance() -> None:
    counts = co_occurrence(Histories.from_rows([[0, 1, 2], [1, 0], [3], [2, 2]]), 5, reach=2).toarray()
    assert counts[0].tolist() == [0, 2, 0.5, 0, 0]
    assert counts[1].tolist() == [2, 0, 1, 0, 0]
    assert not counts[3:].any()
    assert (counts == counts.T).all()


def test_collaborative_vectors_know_who_meets_whom() -> None:
    vectors = collaborative_vectors(groups(40, 4), 42, dim=8, seed=0)
    similar = vectors[:40] @ vectors[:40].T
    same = np.arange(40)[:, None] % 4 == np.arange(40)[None, :] % 4
    assert similar[same].min() > similar[~same].max()
    np.testing.assert_allclose(np.linalg.norm(vectors[:40], axis=1), 1, rtol=1e-5)
    assert not vectors[40:].any()
    np.testing.assert_allclose(vectors, collaborative_vectors(groups(40, 4), 42, dim=8, seed=5), atol=1e-3)


@pytest.mark.parametrize("items", [1, 2, 3])
def test_tiny_catalogues_have_collaborative_vectors_too(items: int) -> None:
    vectors = collaborative_vectors(Histories.from_rows([[0, items - 1]] * 3), items, dim=4, seed=0)
    assert vectors.shape == (items, 4)
    assert np.isfinite(vectors).all()


def test_alignment_brings_items_of_the_same_people_together() -> None:
    """Texts know little of the four groups that people keep to."""
    items, random = 120, np.random.default_rng(0)
    groups_of = np.arange(items) % 4
    vectors = (random.standard_normal((items, 16)) + 0.5 * random.standard_normal((4, 16))[groups_of]).astype(np.float32)
    alike = groups_of[:, None] == groups_of[None, :]
    np.fill_diagonal(alike, False)
    lift = {}
    for alignment in (0.0, 1.0):
        letter = Letter(LetterConfig.parse({**SMALL, "epochs": 40, "alignment": alignment}))
        letter.observe(groups(items, 4))
        first = letter.fit(vectors, seed=0).table[:, 0]
        shared = first[:, None] == first[None, :]
        lift[alignment] = shared[alike].mean() / shared[~alike].mean()
        assert letter.figures()["aligned_items"] == items
    assert lift[1.0] > 2 * lift[0.0]


def terms(**settings: Any) -> tuple[_LetterTerms, ResidualQuantizer]:
    config = LetterConfig.parse({**SMALL, "clusters": 3, **settings})
    quantizer = ResidualQuantizer((6, 6), 4)
    for codebook in quantizer.codebooks:
        torch.nn.init.normal_(codebook, generator=torch.Generator().manual_seed(1))
    collaborative = torch.nn.functional.normalize(torch.randn(10, 4, generator=torch.Generator().manual_seed(2)), dim=1)
    collaborative[7:] = 0
    return _LetterTerms(config, quantizer, collaborative, 0), quantizer


def test_the_alignment_term_is_that_of_the_formula() -> None:
    term, _ = terms(alignment=1.0, diversity=0.0, temperature=0.5)
    rows, quantized = torch.tensor([2, 8, 5, 0]), torch.randn(4, 4, generator=torch.Generator().manual_seed(3))
    known = [0, 2, 3]
    losses = []
    for place in known:
        cosines = [torch.cosine_similarity(quantized[place], term.collaborative[rows[other]], dim=0) / 0.5 for other in known]
        losses.append(torch.logsumexp(torch.stack(cosines), 0) - cosines[known.index(place)])
    found = term(rows, quantized, torch.zeros(4, 2, dtype=torch.int64))
    torch.testing.assert_close(found, torch.stack(losses).mean())


def test_the_diversity_term_pulls_toward_a_mate_of_the_same_cluster() -> None:
    term, quantizer = terms(alignment=0.0, diversity=1.0)
    term.begin_epoch()
    assert all(torch.bincount(clusters).tolist() == [2, 2, 2] for clusters in term.mates)
    codes = torch.tensor([[0, 5], [3, 2], [3, 1]])
    expected = torch.zeros(())
    for level, clusters in enumerate(term.mates):  # with clusters of two, the mate is certain
        codebook = quantizer.codebooks[level]
        for code in codes[:, level].tolist():
            mate = next(other for other in range(6) if other != code and clusters[other] == clusters[code])
            others = [other for other in range(6) if other != code]
            similar = codebook[others] @ codebook[code]
            expected = expected + (torch.logsumexp(similar, 0) - similar[others.index(mate)]) / 3
    torch.testing.assert_close(term(torch.arange(3), torch.zeros(3, 4), codes), expected)


def test_a_code_is_never_its_own_mate() -> None:
    term, _ = terms()
    clusters = torch.tensor([0, 1, 0, 0, 1, 2])
    chosen = torch.arange(6).repeat(50)
    mates = term._drawn_mates(clusters, chosen)
    assert (mates[chosen == 5] == -1).all()
    rest = chosen != 5
    assert (mates[rest] != chosen[rest]).all()
    assert (clusters[mates[rest]] == clusters[chosen[rest]]).all()
    assert set(mates[chosen == 0].tolist()) == {2, 3}


def test_without_histories_it_says_what_to_do() -> None:
    with pytest.raises(UserError, match=r"call observe\(histories\) before fit"):
        Letter(LetterConfig.parse(SMALL)).fit(np.ones((20, 4), dtype=np.float32), seed=0)


def test_histories_of_other_items_are_refused() -> None:
    letter = Letter(LetterConfig.parse(SMALL))
    letter.observe(groups(30, 2))
    with pytest.raises(DataError, match="vectors of 20 items only"):
        letter.fit(np.ones((20, 4), dtype=np.float32), seed=0)
