"""COBRA: training sees what search sees, and the dense vector chooses among items of equal codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from recsmith.data import Histories, ItemCodes
from recsmith.decoding import CodeTrie, beam_search, score_all
from recsmith.errors import ConfigError
from recsmith.models.cobra import Cobra, CobraConfig
from recsmith.testing import CodeModelTests
from recsmith.testing.logs import ITEMS, full_codes
from recsmith.training import to_batch

TINY = {"dim": 16, "layers": 1, "heads": 2, "hidden": 32, "dropout": 0.0, "max_history": 8, "init_std": 0.1, "temperature": 0.2}


def vectors(items: int, dim: int = 8) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((items, dim)).astype(np.float32)


class TestCobra(CodeModelTests):
    model_class = Cobra
    config = CobraConfig.parse(TINY)

    def build(self) -> Any:
        return Cobra(self.config, codes=full_codes(), vectors=vectors(ITEMS))


def catalogue() -> ItemCodes:
    """Nine prefixes with one to three items each."""
    table = [(a, b, digit) for a in range(3) for b in range(3) for digit in range(1 + (a + b) % 3)]
    return ItemCodes(np.array(table), (3, 3, 8))


def make_model(**overrides: object) -> Cobra:
    torch.manual_seed(2)
    return Cobra(CobraConfig.parse({**TINY, **overrides}), codes=catalogue(), vectors=vectors(len(catalogue()))).eval()


def scores(model: Cobra, rows: list[list[int]]) -> torch.Tensor:
    return score_all(model, to_batch(Histories.from_rows(rows)), CodeTrie.build(catalogue()))


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_an_item_is_as_probable_as_its_codes_times_its_share_of_them(norm: str) -> None:
    model = make_model(norm=norm)
    rows = [[1, 2, 3, 9], [5, 6], [], [4, 4]]
    found = scores(model, rows)
    torch.testing.assert_close(found.exp().sum(1), torch.ones(4))
    longer = [[*row, item] for row in rows for item in range(len(catalogue()))]
    packed = to_batch(Histories.from_rows(longer))
    states = model._read_for_training(packed.items, packed.offsets)[packed.offsets[1:] - 1]
    for number, row in enumerate(longer):
        first, second, _ = catalogue().table[row[-1]]
        log = model._logits(states[number, 0], 0).log_softmax(0)[first] + model._logits(states[number, 1], 1).log_softmax(0)[second]
        equal = [i for i, codes in enumerate(catalogue().table) if tuple(codes[:2]) == (first, second)]
        similar = torch.cosine_similarity(model.write_dense(states[number, 2])[None], model.project(model.vectors[equal])) / 0.2
        log = log + similar.log_softmax(0)[equal.index(row[-1])]
        assert found[number // len(catalogue()), row[-1]].item() == pytest.approx(log.item(), abs=1e-4)


def test_the_loss_is_that_of_codes_and_dense_vectors() -> None:
    model = make_model(dense_weight=0.5)
    batch = to_batch(Histories.from_rows([[1, 2, 3], [5]]))
    states, items = model._read_for_training(batch.items, batch.offsets), batch.items.tolist()
    expected = 0.0
    for number, item in enumerate(items):
        for level in (0, 1):
            expected -= model._logits(states[number, level], level).log_softmax(0)[catalogue().table[item, level]].item() / 8
        written = model.write_dense(states[number, 2])
        similar = torch.cosine_similarity(written[None], model.project(model.vectors[items])) / 0.2
        expected -= 0.5 * similar.log_softmax(0)[number].item() / 4
    assert model.loss(batch, 0).item() == pytest.approx(expected, rel=1e-4)


def test_the_dense_vector_learns_to_choose_among_items_of_equal_codes() -> None:
    """All items share their codes here, so that codes tell nothing."""
    codes = ItemCodes(np.array([(0, 0, digit) for digit in range(8)]), (2, 2, 8))
    torch.manual_seed(0)
    model = Cobra(CobraConfig.parse(TINY), codes=codes, vectors=vectors(8)).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    rows = [[(start + step) % 8 for step in range(4)] for start in range(8)]
    for step in range(80):
        loss = model.loss(to_batch(Histories.from_rows(rows)), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    answer = beam_search(model.eval(), to_batch(Histories.from_rows([row[:3] for row in rows])), CodeTrie.build(codes), 1)
    assert answer.items[:, 0].tolist() == [row[3] for row in rows]


def test_heads_that_do_not_divide_are_a_mistake_of_the_user() -> None:
    with pytest.raises(ConfigError, match="`dim` = 10 must be a multiple of `heads` = 4"):
        CobraConfig.parse({"dim": 10, "heads": 4})
