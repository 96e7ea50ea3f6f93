from __future__ import annotations

import torch
from torch.nn import functional

from recsmith.nn.bags import BagLinear, distinct, multinomial_loss, unit_weights

VALUES, OFFSETS = torch.tensor([4, 1, 4, 0, 3]), torch.tensor([0, 3, 3, 5])
ITEMS, SETS = torch.tensor([1, 4, 0, 3]), torch.tensor([0, 2, 2, 4])
DENSE = torch.tensor([[0.0, 1, 0, 0, 1], [0, 0, 0, 0, 0], [1, 0, 0, 1, 0]])


def test_distinct() -> None:
    items, offsets = distinct(VALUES, OFFSETS, size=5)
    assert torch.equal(items, ITEMS)
    assert torch.equal(offsets, SETS)


def test_bag_linear_is_a_product_with_the_row() -> None:
    layer = BagLinear(5, 3)
    torch.nn.init.normal_(layer.bias)
    torch.testing.assert_close(layer(ITEMS, SETS), DENSE @ layer.embedding.weight + layer.bias)
    weights = unit_weights(SETS, tokens=4, dtype=torch.float32)
    torch.testing.assert_close(layer(ITEMS, SETS, weights), functional.normalize(DENSE) @ layer.embedding.weight + layer.bias)


def test_multinomial_loss() -> None:
    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(multinomial_loss(logits, ITEMS, SETS), -(logits.log_softmax(1) * DENSE).sum())
