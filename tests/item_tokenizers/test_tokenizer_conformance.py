from __future__ import annotations

from typing import Any

import torch

from recsmith.item_tokenizers import TOKENIZERS
from recsmith.item_tokenizers.rq_kmeans import RqKMeans, RqKMeansConfig
from recsmith.item_tokenizers.rq_vae import RqVae, RqVaeConfig
from recsmith.testing.tokenizers import ItemTokenizerTests

SMALL_VAE = {"hidden": (32,), "latent": 8, "epochs": 15, "warm_up_epochs": 5, "batch_size": 64, "learning_rate": 5e-3}


class TestRqKMeansConformance(ItemTokenizerTests):
    def make(self, **overrides: Any) -> RqKMeans:
        return RqKMeans(RqKMeansConfig.parse({"size": 16, **overrides}))


class TestRqKMeansSpreadConformance(ItemTokenizerTests):
    def make(self, **overrides: Any) -> RqKMeans:
        return RqKMeans(RqKMeansConfig.parse({"size": 16, "collisions": "nearest", "normalise": "unit", "components": 4, **overrides}))


class TestRqVaeConformance(ItemTokenizerTests):
    def make(self, **overrides: Any) -> RqVae:
        return RqVae(RqVaeConfig.parse({"size": 16, "device": "cpu", **SMALL_VAE, **overrides}))

    def test_leaves_torch_randomness_alone(self) -> None:
        before = torch.get_rng_state()
        self.fitted()
        assert torch.equal(before, torch.get_rng_state())


def test_registry_names_both() -> None:
    assert TOKENIZERS.get("rq-kmeans") is RqKMeans
    assert TOKENIZERS.get("rq-vae") is RqVae
