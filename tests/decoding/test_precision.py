"""The weights to answer with are chosen among those whose lists are close enough."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from torch import nn

from recsmith.data import ItemCodes
from recsmith.decoding import CodeTrie, beam_search, compare_lists, fastest, top_k, with_weights
from recsmith.models.hstu_codes import HstuCodes, HstuCodesConfig
from recsmith.nn.packed_linear import PackedLinear, can_pack
from recsmith.protocols import RankedLists
from recsmith.testing.decoders import DecodingCase, decoding_case


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


def language_model(codes: ItemCodes) -> nn.Module:
    pytest.importorskip("transformers")
    from tests.decoding.test_adapters import make

    return make("llama", codes)


def hstu_codes(codes: ItemCodes) -> nn.Module:
    torch.manual_seed(0)
    model = HstuCodes(HstuCodesConfig.parse({"dim": 16, "heads": 2, "hidden": 32}), codes=codes).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)
    return model


@pytest.mark.skipif(not can_pack(), reason="this build of torch has no mkldnn")
@pytest.mark.parametrize(("weights", "least", "tolerance"), [("packed fp32", 1.0, 1e-4), ("packed bf16", 0.9, 0.1)])
@pytest.mark.parametrize("build", [language_model, hstu_codes])
def test_models_that_generate_codes_are_searched_with_packed_weights(build, weights, least, tolerance):
    case = decoding_case(5, rows=12)
    case = DecodingCase(case.codes, build(case.codes), case.histories, case.limits)
    trie, fast = CodeTrie.build(case.codes), with_weights(case.model, weights)
    assert any(isinstance(module, PackedLinear) for module in fast.modules())
    exact, found = (beam_search(model, case.batch, trie, 5, beams=40, limits=case.limits) for model in (case.model, fast))
    assert compare_lists(found, exact) >= least
    same = (found.items == exact.items) & (exact.items >= 0)
    assert same.any()
    assert np.abs(found.scores[same] - exact.scores[same]).mean() < tolerance
    assert found.scores.dtype == np.float32


def test_models_without_layers_are_not_copied():
    model = nn.Sequential(nn.Embedding(4, 4))
    chosen, name, tried = fastest(model, lambda _: RankedLists(np.zeros((0, 5), dtype=np.int64), np.zeros((0, 5), dtype=np.float32)))
    assert (chosen, name, set(tried)) == (model, "as trained", {"as trained"})
