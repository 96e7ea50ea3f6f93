from __future__ import annotations

from typing import Any

import numpy as np

from recsmith.item_tokenizers.balanced_residual import BalancedRqKMeans, BalancedRqKMeansConfig
from recsmith.item_tokenizers.rq_kmeans import RqKMeans, RqKMeansConfig
from recsmith.testing.tokenizers import ItemTokenizerTests


class TestBalancedRqKMeansConformance(ItemTokenizerTests):
    def make(self, **overrides: Any) -> BalancedRqKMeans:
        return BalancedRqKMeans(BalancedRqKMeansConfig.parse({"size": 16, "levels": 2, "iterations": 5, "components": 8, **overrides}))


def crowded(items: int = 600) -> np.ndarray:
    """Most items around one centre, the others spread widely."""
    random = np.random.default_rng(0)
    spread = np.where(np.arange(items) % 4 > 0, 0.3, 4.0)[:, None]
    return (random.standard_normal((items, 6)) * spread).astype(np.float32)


def test_codes_are_used_about_equally_often() -> None:
    settings = {"size": 12, "levels": 2, "components": 0}
    plain = RqKMeans(RqKMeansConfig.parse(settings)).fit(crowded(), seed=0)
    balanced = BalancedRqKMeans(BalancedRqKMeansConfig.parse(settings)).fit(crowded(), seed=0)
    for level in range(2):
        loads = np.bincount(balanced.table[:, level], minlength=12)
        assert loads.max() <= 1.5 * 600 / 12
        assert loads.max() < np.bincount(plain.table[:, level], minlength=12).max()


def test_codes_still_describe_the_items() -> None:
    tokenizer = BalancedRqKMeans(BalancedRqKMeansConfig.parse({"size": 32, "levels": 3, "components": 0}))
    vectors = crowded()
    codes = tokenizer.fit(vectors, seed=0)
    latent = tokenizer._latent(tokenizer._prepared(vectors))
    left = latent.clone()
    for codebook, column in zip(tokenizer._codebooks, codes.table.T[:3], strict=True):
        left -= codebook[column]
    assert left[:, :6].square().sum() < 0.2 * latent.square().sum()
