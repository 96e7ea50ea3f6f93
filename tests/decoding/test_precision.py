"""The weights to answer with are chosen among those whose lists are close enough."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from recsmith.decoding import fastest, top_k
from recsmith.nn.packed_linear import can_pack
from recsmith.protocols import RankedLists


def lists(model: nn.Module) -> RankedLists:
    """Answers that take long with a layer as it is."""
    torch.manual_seed(1)
    scores = model(torch.randn(16, 12)).detach().float()
    if type(model[0]) is nn.Linear:
        time.sleep(0.02)
    return top_k(scores, 5)


@pytest.mark.skipif(not can_pack(), reason="this build of torch has no mkldnn")
def test_the_fastest_that_is_close_enough_is_chosen():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 40))
    chosen, name, tried = fastest(model, lists, least_overlap=0.5)
    assert set(tried) == {"as trained", "packed fp32", "packed bf16"}
    assert tried["as trained"].overlap == tried["packed fp32"].overlap == 1
    assert name != "as trained"
    assert (lists(chosen).items == lists(model).items).mean() > 0.9


def test_the_trained_weights_stay_where_none_is_close_enough():
    model = nn.Sequential(nn.Linear(12, 40))
    chosen, name, _ = fastest(model, lists, least_overlap=1.1)
    assert (chosen, name) == (model, "as trained")
