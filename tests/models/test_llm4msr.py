"""LLM4MSR: every model's promises, the two levels of meta layers, and tastes that only texts and scenarios together tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import gelu

from recsmith.data import Histories
from recsmith.errors import DataError
from recsmith.models.llm4msr import Llm4Msr, Llm4MsrConfig
from recsmith.testing.logs import ITEMS, awkward
from recsmith.testing.models import ScoreModelTests
from recsmith.training import to_batch

SMALL = {
    "dim": 16,
    "layers": 1,
    "heads": 2,
    "hidden": 32,
    "dropout": 0.0,
    "max_history": 8,
    "init_std": 0.1,
    "scenarios": 3,
    "meta_hidden": 8,
}
SCENARIOS = ["films for the evening", "books"]


def built(config: Llm4MsrConfig) -> Llm4Msr:
    texts = [SCENARIOS[item % 2] for item in range(ITEMS)]
    meanings = np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32)
    model = Llm4Msr(config, items=ITEMS, vectors=meanings[np.arange(ITEMS) % 2])
    model.read(texts)
    return model


class TestLlm4Msr(ScoreModelTests):
    model_class = Llm4Msr
    config = Llm4MsrConfig.parse(SMALL)
    sequential = True

    def build(self) -> Any:
        return built(self.config)


@torch.no_grad()
def test_layers_of_scenarios_carry_layers_of_people() -> None:
    torch.manual_seed(0)
    model = built(Llm4MsrConfig.parse(SMALL))
    torch.nn.init.normal_(model.towers)
    bottom, told = torch.randn(3, 16), torch.randn(3, 6)
    told[2] = 0  # nothing is written about the third
    found = model.seen(bottom, told)
    assert found.shape == (3, 2, 16)
    for scenario in range(2):
        weight, bias = model.of_scenario(model.texts.values[model.first[scenario]][None])
        for row in range(3):
            towered = bottom[row] + bottom[row] @ model.towers[scenario]
            wanted = towered + gelu(towered @ weight[0] + bias[0])
            if row < 2:
                own_weight, own_bias = model.of_person(told[row][None])
                wanted = wanted + gelu(wanted @ own_weight[0] + own_bias[0])
            torch.testing.assert_close(found[row, scenario], wanted, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_scenarios_text_moves_its_items_alone() -> None:
    model = built(Llm4MsrConfig.parse(SMALL)).eval()
    before = model.score(to_batch(awkward()))
    model.texts.values[1::2] += 1
    moved = (model.score(to_batch(awkward())) - before).abs().amax(0) > 1e-6
    assert moved.tolist() == [item % 2 == 1 for item in range(ITEMS)]


@torch.enable_grad()
def test_a_persons_text_means_the_opposite_in_another_scenario() -> None:
    """Who is told of as +1 takes the small films and the large books; -1 the reverse. Histories are noise to begin with."""
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    kinds = np.arange(40) % 2
    half = ITEMS // 2

    def fits(item: int, kind: int) -> bool:
        return ((item < half) == (item % 2 == 0)) == bool(kind)

    rows = [[int(random.choice([item for item in range(ITEMS) if fits(item, kind)]))] for kind in kinds]
    model = built(Llm4MsrConfig.parse({**SMALL, "unread": 0.0}))
    vectors = np.random.default_rng(1).normal(size=(2, 6)).astype(np.float32)
    model.read_people(vectors[kinds])
    batch = to_batch(Histories.from_rows(rows), users=np.arange(40))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(80):
        optimizer.zero_grad()
        model.loss(batch, step).backward()
        optimizer.step()
    nothing = to_batch(Histories.from_rows([[], [], []]), users=np.array([0, 1, -1]))
    with torch.no_grad():
        chances = model.eval().score(nothing).softmax(1).numpy()
    for kind in (0, 1):
        assert sum(chances[kind, item] for item in range(ITEMS) if fits(item, kind)) > 0.9
    assert np.isfinite(chances[2]).all()


def test_one_text_for_all_is_no_scenario() -> None:
    model = built(Llm4MsrConfig.parse(SMALL))
    with pytest.raises(DataError, match="the items' texts make 1 scenarios, and LLM4MSR takes 2 to 3"):
        model.read(["all"] * ITEMS)
