from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recsmith.data import ItemCodes
from recsmith.item_tokenizers import TOKENIZERS
from recsmith.item_tokenizers.hierarchical import HierarchicalConfig, HierarchicalKMeans
from recsmith.item_tokenizers.product import ProductCodes, ProductConfig
from recsmith.item_tokenizers.random_codes import RandomCodes, RandomConfig
from recsmith.testing.tokenizers import ItemTokenizerTests, planted_vectors


class TestProductConformance(ItemTokenizerTests):
    def make(self, **overrides: Any) -> ProductCodes:
        return ProductCodes(ProductConfig.parse({"size": 16, "levels": 2, "rotations": 5, **overrides}))


class TestPlainProductConformance(ItemTokenizerTests):
    def make(self, **overrides: Any) -> ProductCodes:
        return ProductCodes(ProductConfig.parse({"size": 16, "levels": 3, "rotation": "none", **overrides}))


class TestHierarchicalConformance(ItemTokenizerTests):
    def make(self, **overrides: Any) -> HierarchicalKMeans:
        return HierarchicalKMeans(HierarchicalConfig.parse({"levels": 2, "components": 8, "iterations": 5, **overrides}))


class TestRandomConformance(ItemTokenizerTests):
    def make(self, **overrides: Any) -> RandomCodes:
        return RandomCodes(RandomConfig.parse({"size": 16, **overrides}))

    def test_near_items_share_first_codes_more_often_than_far_ones(self) -> None:
        """The opposite holds: near items share them no more often than chance has it."""
        vectors, clusters = planted_vectors(items_per_cluster=60)
        _, codes = self.fitted(vectors)
        equal = codes.table[:, None, 0] == codes.table[None, :, 0]
        near = (clusters[:, None] == clusters[None, :]) & ~np.eye(len(codes), dtype=bool)
        assert equal[near].mean() == pytest.approx(1 / 16, abs=0.01)

    def test_first_code_recovers_planted_clusters(self) -> None:
        """It must not."""
        self.least_purity = 0.0
        super().test_first_code_recovers_planted_clusters()
        self.least_purity = 0.6
        with pytest.raises(AssertionError):
            super().test_first_code_recovers_planted_clusters()

    def test_another_seed_gives_other_codes(self) -> None:
        assert (self.fitted(seed=0)[1].table[:, 0] == self.fitted(seed=1)[1].table[:, 0]).mean() < 0.2


def test_random_codes_have_an_answer_for_a_full_prefix() -> None:
    vectors, _ = planted_vectors()
    tokenizer = RandomCodes(RandomConfig(size=16, levels=1))
    codes = tokenizer.fit(vectors, seed=0)
    room = codes.sizes[-1]
    added = tokenizer.assign(np.repeat(vectors[:1], room, axis=0), taken=codes)
    assert len(np.unique(np.concatenate([codes.table, added.table]), axis=0)) == len(vectors) + room
    assert isinstance(added, ItemCodes)


def test_registry_names_them_all() -> None:
    assert [TOKENIZERS.get(name) for name in ("pq", "hierarchical", "random")] == [ProductCodes, HierarchicalKMeans, RandomCodes]
