"""HSTU over codes: training sees what search scores, and the codes written so far matter."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recsmith.data import Histories, ItemCodes
from recsmith.decoding import CodeTrie, score_all
from recsmith.errors import ConfigError
from recsmith.models.hstu_codes import HstuCodes, HstuCodesConfig
from recsmith.testing import CodeModelTests
from recsmith.testing.logs import timed
from recsmith.training import to_batch

TINY = {"dim": 16, "layers": 1, "heads": 2, "hidden": 32, "dropout": 0.0, "max_history": 8, "time_buckets": 8, "hide_times": 0.0}


class TestHstuCodes(CodeModelTests):
    model_class = HstuCodes
    config = HstuCodesConfig.parse(TINY)


def catalogue() -> ItemCodes:
    numbers = np.random.default_rng(0).permutation(6 * 5 * 4)[:40]
    return ItemCodes(np.stack(np.unravel_index(numbers, (6, 5, 4)), axis=1), (6, 5, 4))


def make_model() -> HstuCodes:
    torch.manual_seed(3)
    return HstuCodes(HstuCodesConfig.parse({**TINY, "init_std": 0.3}), codes=catalogue()).eval()


def scores(model: HstuCodes, histories: Histories) -> torch.Tensor:
    return score_all(model, to_batch(histories), CodeTrie.build(catalogue()))


def test_the_loss_is_what_search_scores_of_each_prefix() -> None:
    model, rows = make_model(), [[1, 2, 3, 9, 4], [5], [], [4, 4]]
    pairs = [(row[:place], row[place]) for row in rows for place in range(len(row))]
    exact = scores(model, timed(Histories.from_rows([prefix for prefix, _ in pairs])))
    expected = -np.mean([exact[number, target].item() for number, (_, target) in enumerate(pairs)]) / 3
    assert model.loss(to_batch(timed(Histories.from_rows(rows))), 0).item() == pytest.approx(expected, rel=1e-5)


def test_levels_are_not_independent() -> None:
    model = make_model()
    _, state = model.step(model.prefill(to_batch(Histories.from_rows([[1, 2]]))), 0, None, None)
    parents, last = torch.zeros(1, 2, dtype=torch.int64), torch.tensor([[0, 5]])
    logits, _ = model.step(state, 1, parents, last)
    assert not torch.allclose(logits[0, 0], logits[0, 1], atol=1e-3)


def test_times_matter_and_may_be_unknown() -> None:
    model = make_model()
    with torch.no_grad():
        model.units[0].bias.by_gap.normal_()
    rows = Histories.from_rows([[1, 2, 3]])
    unknown = Histories(rows.values, rows.offsets, np.full(3, np.nan))
    torch.testing.assert_close(scores(model, rows), scores(model, unknown))
    assert not torch.allclose(scores(model, rows), scores(model, timed(rows)), atol=1e-3)


def test_unknown_items_are_not_read() -> None:
    model = make_model()
    torch.testing.assert_close(scores(model, Histories.from_rows([[-1, 1, -1, 2]])), scores(model, Histories.from_rows([[1, 2]])))


def test_heads_that_do_not_divide_are_a_mistake_of_the_user() -> None:
    with pytest.raises(ConfigError, match="`dim` = 10 must be a multiple of `heads` = 4"):
        HstuCodesConfig.parse({"dim": 10})
