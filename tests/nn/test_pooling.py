from __future__ import annotations

import torch

from recsmith.nn.pooling import causal_attention_pool, row_mean


def test_each_event_sees_its_own_past() -> None:
    torch.manual_seed(0)
    values, logits, offsets = torch.randn(6, 4), torch.randn(6) * 3, torch.tensor([0, 4, 4, 6])
    found = causal_attention_pool(values, logits, offsets)
    for start, end in ((0, 4), (4, 6)):
        for place in range(start, end):
            weights = logits[start : place + 1].softmax(0)
            torch.testing.assert_close(found[place], weights @ values[start : place + 1], rtol=1e-5, atol=1e-6)


def test_means_of_rows() -> None:
    values, offsets = torch.arange(8.0).view(4, 2), torch.tensor([0, 3, 3, 4])
    assert row_mean(values, offsets).tolist() == [[2, 3], [0, 0], [6, 7]]
