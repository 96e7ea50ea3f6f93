from __future__ import annotations

import numpy as np
import torch

from recsmith.decoding import fill_slates
from recsmith.models.bgn import Bgn, BgnConfig, shuffled
from recsmith.nn.baskets import PackedBaskets
from recsmith.testing import BasketModelTests, basket_rows
from recsmith.training import to_batch

SMALL = {"dim": 16, "hidden": 24, "dropout": 0.0, "max_history": 8, "init_std": 0.1, "bundle": 3}


class TestBgn(BasketModelTests):
    model_class = Bgn
    config = BgnConfig.parse(SMALL)
    sequential = True
    steps = 140


def test_bundles_are_drawn_in_every_order_and_never_beyond_their_size() -> None:
    baskets = PackedBaskets.of(to_batch(basket_rows([[[1, 2, 3]], [], [[4]]])), items=5)
    torch.manual_seed(0)
    drawn = [shuffled(baskets, size=2) for _ in range(60)]
    assert all(bundle[1].tolist() == [-1, -1] and bundle[2].tolist() == [4, -1] for bundle in drawn)
    assert {tuple(bundle[0].tolist()) for bundle in drawn} == {(one, two) for one in (1, 2, 3) for two in (1, 2, 3) if one != two}


def test_items_that_go_together_end_in_one_bundle() -> None:
    """A basket holds an item and its complement, 2 k and 2 k + 1, for a k that nobody can foretell: half of a pair tells the other half."""
    random = np.random.default_rng(0)
    pairs = random.integers(0, 6, (200, 3))
    log = basket_rows([[[2 * pair, 2 * pair + 1] for pair in row] for row in pairs.tolist()])
    torch.manual_seed(0)
    model = Bgn(BgnConfig.parse(SMALL), items=12)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(150):
        optimizer.zero_grad()
        model.loss(to_batch(log), step).backward()
        optimizer.step()
    model.eval()
    state = model.open_slate(to_batch(log.slice(0, 12)), 2, None)
    given = torch.arange(12)
    second = model.slot(state, given[:, None]).scatter(1, given[:, None], -torch.inf)
    assert second.argmax(1).tolist() == (given ^ 1).tolist()
    slates = fill_slates(model, to_batch(log), 2).items
    assert (slates[:, 0] // 2 == slates[:, 1] // 2).mean() > 0.99
