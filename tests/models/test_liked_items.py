from __future__ import annotations

from typing import Any

import numpy as np
import torch

from recsmith.models.content_knn import ContentKnn, ContentKnnConfig
from recsmith.models.liked_items import LikedItems, LikedItemsConfig
from recsmith.retrieval import ExactIndex
from recsmith.testing.logs import ITEMS, awkward, cycles
from recsmith.testing.models import ScoreModelTests
from recsmith.training import to_batch

CONFIG = LikedItemsConfig.parse({"dim": 16, "layers": 1, "heads": 2, "hidden": 32, "dropout": 0.0, "max_history": 8, "init_std": 0.1})


def texts() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(ITEMS, 16)).astype(np.float32)


class TestLikedItems(ScoreModelTests):
    model_class = LikedItems
    config = CONFIG
    sequential = True
    steps = 100

    def build(self) -> Any:
        return LikedItems(self.config, items=ITEMS, vectors=texts())


@torch.no_grad()
def test_it_starts_as_retrieval_by_the_mean() -> None:
    model = LikedItems(CONFIG, items=ITEMS, vectors=texts()).eval()
    mean = ContentKnn(ContentKnnConfig(fade=1.0, max_history=8), items=ITEMS, vectors=texts())
    batch = to_batch(awkward())
    torch.testing.assert_close(model.score(batch), mean.score(batch), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_an_index_over_the_items_answers_its_queries() -> None:
    model = LikedItems(CONFIG, items=ITEMS, vectors=texts()).eval()
    index = ExactIndex()
    index.add(np.arange(ITEMS), model.texts.values.numpy())
    batch = to_batch(cycles(users=5))
    lists = index.search(model.user_vectors(batch).numpy(), 3)
    assert lists.items.tolist() == model.score(batch).topk(3).indices.tolist()
