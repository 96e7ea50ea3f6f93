"""LMIndexer: the promises of tokenizers on texts that stand for the suite's vectors, and what its losses are."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest
import torch
import torch.nn.functional as F

from recsmith.data import Catalogue, ItemCodes
from recsmith.errors import ArtifactError, DataError, UserError
from recsmith.item_tokenizers.lm_indexer import LmIndexer, LmIndexerConfig
from recsmith.item_tokenizers.vectors import checked_vectors
from recsmith.nn.text_indexer import PackedTexts, TextIndexer, apart
from recsmith.testing.tokenizers import ItemTokenizerTests, planted_vectors

TINY = {
    "levels": 2, "size": 16, "words": 330, "dim": 16, "heads": 2, "head_dim": 8, "ff_dim": 32, "encoder_layers": 1, "max_text": 12,
    "warm_up_epochs": 3, "epochs": 1, "batch_size": 64, "learning_rate": 1e-2, "contrast": 0.1,
}  # fmt: skip


def spoken(vectors: np.ndarray) -> Catalogue:
    """A title for each vector: the letters of its greatest numbers, small letters for negative ones."""
    strongest = np.argsort(-np.abs(vectors), axis=1, kind="stable")[:, :6]
    strongest.sort(axis=1)
    titles = [
        " ".join(chr((65 if value > 0 else 97) + place) for place, value in zip(row, vector[row], strict=True) if value)
        for row, vector in zip(strongest, vectors, strict=True)
    ]
    return Catalogue.from_frame(pl.DataFrame({"item_id": range(len(vectors)), "title": pl.Series(titles, dtype=pl.String)}))


class Spoken(LmIndexer):
    """Reads the titles of vectors in place of a catalogue's."""

    def fit(self, vectors: np.ndarray, **options: Any) -> ItemCodes:
        self.dim = checked_vectors(vectors).shape[1]
        self.bind(pl.Series("item_id", range(len(vectors))), spoken(vectors))
        return super().fit(vectors, **options)

    def assign(self, vectors: np.ndarray, *, taken: ItemCodes) -> ItemCodes:
        if len(vectors):
            self.bind(pl.Series("item_id", range(len(vectors))), spoken(checked_vectors(vectors)))
        return super().assign(vectors, taken=taken)


class TestLmIndexerConformance(ItemTokenizerTests):
    least_purity = 0.8
    _fitted: ClassVar[dict[tuple[bytes, int], tuple[LmIndexer, ItemCodes]]] = {}
    # these are about vectors, which it does not read
    test_vectors_that_are_not_finite_are_refused = None
    test_vectors_that_are_no_table_are_refused = None
    test_new_vectors_of_another_length_are_refused = None
    test_double_precision_gives_the_same_codes = None

    def make(self, **overrides: Any) -> LmIndexer:
        return Spoken(LmIndexerConfig.parse({**TINY, **overrides}))

    def fitted(self, vectors: np.ndarray | None = None, *, seed: int = 0) -> tuple[LmIndexer, ItemCodes]:
        """Each fit is made once: it takes a second."""
        vectors = planted_vectors()[0] if vectors is None else vectors
        key = (vectors.tobytes(), seed)
        if key not in self._fitted:
            tokenizer = self.make()
            self._fitted[key] = tokenizer, tokenizer.fit(vectors, seed=seed)
        return self._fitted[key]


def network(**overrides: Any) -> TextIndexer:
    torch.manual_seed(0)
    made = TextIndexer(LmIndexerConfig.parse({**TINY, **overrides}), words=20, sizes=[4, 3])
    for codebook in made.codebooks:
        torch.nn.init.normal_(codebook)
    return made.eval()


def texts() -> PackedTexts:
    return PackedTexts(torch.tensor([1, 2, 3, 4, 5, 6, 7, 8]), torch.tensor([1, 2, 2, 3]))


def test_packed_texts_come_in_order_of_length() -> None:
    packed, rows = PackedTexts.of(torch.arange(8), torch.tensor([0, 3, 4, 6, 8]), torch.tensor([3, 0, 1]))
    assert rows.tolist() == [1, 3, 0]
    assert packed.tokens.tolist() == [3, 6, 7, 0, 1, 2]
    assert packed.lengths.tolist() == [1, 2, 3]


def test_a_code_is_that_of_the_nearest_vector_and_passes_the_gradient_of_the_softmax() -> None:
    model, states = network(), torch.randn(5, 16, requires_grad=True)
    written = model.written(states, 0)
    nearest = (states[:, None] - model.codebooks[0]).square().sum(2).argmin(1)
    torch.testing.assert_close(written, model.codebooks[0][nearest])
    weights = torch.randn(5, 16)
    (found,) = torch.autograd.grad((written * weights).sum(), states)
    soft = (-(states[:, None] - model.codebooks[0]).square().sum(2) / 4).softmax(1) @ model.codebooks[0]
    (expected,) = torch.autograd.grad((soft * weights).sum(), states)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_state_depends_on_the_text_and_on_the_codes_before_alone() -> None:
    model, codes = network(), torch.tensor([[0, 1], [2, 1], [3, 0], [1, 2]])
    both, one = model.states(texts(), codes), model.states(texts(), codes[:, :1])
    torch.testing.assert_close(both[:, :2], one)
    other = model.states(texts(), torch.tensor([[0, 2], [1, 1], [3, 1], [1, 0]]))
    torch.testing.assert_close(both[0, :2], other[0, :2])
    assert not torch.allclose(both[1, 1], other[1, 1], atol=1e-3)
    alone = model.states(PackedTexts(torch.tensor([4, 5]), torch.tensor([2])), codes[2:3])
    torch.testing.assert_close(alone[0], both[2])


def test_texts_of_equal_codes_are_told_apart() -> None:
    states, prefixes = torch.randn(4, 8), torch.tensor([[0], [1], [0], [2]])
    losses = []
    for row, rivals in enumerate([[0, 2], [1], [0, 2], [3]]):
        cosines = torch.stack([F.cosine_similarity(states[row], states[rival], dim=0) / 0.5 for rival in rivals])
        losses.append(-cosines.log_softmax(0)[rivals.index(row)])
    torch.testing.assert_close(apart(states, prefixes, 0.5), torch.stack(losses).mean())


def test_codes_help_to_restore_what_is_hidden() -> None:
    """Texts of one word each: with everything hidden, only the code can tell the word."""
    vectors, groups = np.eye(24, dtype=np.float32)[np.arange(96) % 4], np.arange(96) % 4
    tokenizer = Spoken(
        LmIndexerConfig.parse({**TINY, "levels": 1, "size": 4, "hidden_share": 0.99, "warm_up_epochs": 4, "epochs": 10, "batch_size": 16})
    )
    codes = tokenizer.fit(vectors, seed=0)
    assert len(set(zip(codes.table[:, 0].tolist(), groups.tolist(), strict=True))) == 4
    assert tokenizer.figures()["restoring_loss"] < 0.5 < np.log(4)
    assert tokenizer.figures()["kept"] == 1


def test_mistakes() -> None:
    tokenizer = LmIndexer(LmIndexerConfig.parse(TINY))
    with pytest.raises(UserError, match=r"call bind\(item_ids, catalogue\) before fit"):
        tokenizer.fit(np.zeros((2, 0)), seed=0)
    tokenizer.bind(pl.Series([1, 2]), None)
    with pytest.raises(DataError, match="reads the items' words, and there is no catalogue; give a folder with an items file"):
        tokenizer.fit(np.zeros((2, 0)), seed=0)
    fitted, _ = TestLmIndexerConformance().fitted()
    with pytest.raises(ArtifactError, match=r"does not fit its settings .*; fit it again"):
        LmIndexer(LmIndexerConfig.parse({**TINY, "dim": 8})).load_state(fitted.state())
