from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from recsmith.data import Histories
from recsmith.models.content_knn import ContentKnn, ContentKnnConfig
from recsmith.testing.logs import ITEMS
from recsmith.testing.models import ScoreModelTests
from recsmith.training import to_batch


def parity_vectors() -> np.ndarray:
    """Items of one parity point the same way but for a little noise."""
    vectors = np.random.default_rng(0).normal(size=(ITEMS, 6)).astype(np.float32) * 0.1
    vectors[np.arange(ITEMS), np.arange(ITEMS) % 2] += 1
    return vectors


class TestContentKnn(ScoreModelTests):
    model_class = ContentKnn
    config = ContentKnnConfig(max_history=8)

    def build(self) -> Any:
        return ContentKnn(self.config, items=ITEMS, vectors=parity_vectors())


class TestAttention(TestContentKnn):
    config = ContentKnnConfig(pooling="attention", max_history=8)


class TestNearest(TestContentKnn):
    config = ContentKnnConfig(pooling="nearest", fade=0.9, max_history=8)


def scores(vectors: np.ndarray, history: list[int], **settings: Any) -> list[float]:
    model = ContentKnn(ContentKnnConfig(**settings), items=len(vectors), vectors=vectors)
    return model.score(to_batch(Histories.from_rows([history])))[0].tolist()


def test_scores_are_the_cosines_of_the_fading_mean() -> None:
    vectors = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    mean = 0.25 * unit[0] + 0.5 * unit[1] + unit[2]
    expected = unit @ mean / np.linalg.norm(mean)
    assert scores(vectors, [0, 1, 2], fade=0.5) == pytest.approx(expected.tolist(), abs=1e-5)


def test_fade_0_reads_the_last_event_alone() -> None:
    vectors = np.eye(4, dtype=np.float32)
    assert scores(vectors, [0, 1, 3], fade=0.0) == pytest.approx([0, 0, 0, 1])


def test_nearest_takes_the_best_event() -> None:
    assert scores(np.eye(3, dtype=np.float32), [0, 2], pooling="nearest", fade=0.5) == pytest.approx([0.5, 0, 1])


def test_attention_prefers_events_like_the_last() -> None:
    vectors = np.array([[1, 0], [1, 0.1], [0, 1]], dtype=np.float32)
    even = scores(vectors, [2, 0, 1], fade=1.0)
    sharp = scores(vectors, [2, 0, 1], pooling="attention", temperature=0.05)
    assert sharp[2] < even[2]
    assert torch.tensor(sharp).argmax() in (0, 1)
