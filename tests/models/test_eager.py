"""EAGER: the streams do not see each other, and training sees what search scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from recsmith.data import Histories, ItemCodes
from recsmith.decoding import CodeTrie, score_all
from recsmith.errors import ConfigError
from recsmith.models.eager import Eager, EagerConfig
from recsmith.testing import CodeModelTests
from recsmith.testing.logs import ITEMS, full_codes
from recsmith.training import to_batch

TINY = {
    "behaviour_levels": 1, "dim": 16, "heads": 2, "head_dim": 8, "ff_dim": 32, "encoder_layers": 1, "decoder_layers": 1,
    "max_history": 8, "dropout": 0.0,
}  # fmt: skip


def vectors(items: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((items, 6)).astype(np.float32)


class TestEager(CodeModelTests):
    model_class = Eager
    config = EagerConfig.parse(TINY)
    steps = 220

    def build(self) -> Any:
        return Eager(self.config, codes=full_codes(), vectors=vectors(ITEMS))


def catalogue() -> ItemCodes:
    numbers = np.random.default_rng(0).permutation(4 * 3 * 3 * 2)[:30]
    return ItemCodes(np.stack(np.unravel_index(numbers, (4, 3, 3, 2)), axis=1), (4, 3, 3, 2))


def make_model(**overrides: object) -> Eager:
    torch.manual_seed(1)
    return Eager(
        EagerConfig.parse({**TINY, "behaviour_levels": 2, "max_history": 6, **overrides}), codes=catalogue(), vectors=vectors(30)
    ).eval()


def scores(model: Eager, rows: list[list[int]]) -> torch.Tensor:
    return score_all(model, to_batch(Histories.from_rows(rows)), CodeTrie.build(catalogue()))


def test_the_loss_is_what_search_scores_of_each_prefix() -> None:
    model, rows = make_model(contrast=0.0), [[1, 2, 3, 9, 4], [5], [], [4, 4]]
    pairs = [(row[:place], row[place]) for row in rows for place in range(len(row))]
    exact = scores(model, [prefix for prefix, _ in pairs])
    expected = -np.mean([exact[number, target].item() for number, (_, target) in enumerate(pairs)]) / 4
    assert model.loss(to_batch(Histories.from_rows(rows)), 0).item() == pytest.approx(expected, rel=1e-5)


def test_the_semantic_stream_does_not_see_the_behaviour_codes() -> None:
    model = make_model()
    state, nothing = model.prefill(to_batch(Histories.from_rows([[1, 2]]))), torch.zeros(1, 3, dtype=torch.int64)
    _, state = model.step(state, 0, None, None)
    behaviour, state = model.step(state, 1, nothing, torch.tensor([[0, 1, 3]]))
    semantic, state = model.step(state, 2, torch.tensor([[0, 1, 2]]), torch.tensor([[0, 2, 1]]))
    assert not torch.allclose(behaviour[0, 0], behaviour[0, 1], atol=1e-3)
    torch.testing.assert_close(semantic[0, 0], semantic[0, 1])
    following, _ = model.step(state, 3, torch.tensor([[2, 2, 0]]), torch.tensor([[0, 1, 1]]))
    assert not torch.allclose(following[0, 0], following[0, 1], atol=1e-3)


def test_the_contrast_is_between_the_last_state_and_the_vectors_of_the_targets() -> None:
    plain, both = make_model(contrast=0.0), make_model(contrast=0.5, temperature=0.2)
    hidden, items = torch.randn(3, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([4, 9, 4])
    written = both.summary(hidden)
    losses = []
    for row, item in enumerate(items.tolist()):
        cosines = torch.stack([torch.cosine_similarity(written[row], both.vectors[other], dim=0) / 0.2 for other in (4, 9)])
        losses.append(-cosines.log_softmax(0)[(4, 9).index(item)])
    torch.testing.assert_close(both._contrast(hidden, items), torch.stack(losses).mean())
    batch = to_batch(Histories.from_rows([[1, 2, 3]]))
    assert both.loss(batch, 0).item() > plain.loss(batch, 0).item()


def test_streams_that_leave_nothing_are_a_mistake_of_the_user() -> None:
    with pytest.raises(ConfigError, match=r"`model\.behaviour_levels` = 4 leaves no semantic codes of 4; allowed: 1 to 3"):
        make_model(behaviour_levels=4)
