from __future__ import annotations

import numpy as np
import torch
from torch import nn

from recsmith.nn.int8 import Int8Linear, quantise_linears
from recsmith.nn.neighbour_table import NeighbourTable
from recsmith.nn.text_table import TextTable


def test_texts_survive_as_weights() -> None:
    texts = ["", "Amélie", "千と千尋の神隠し", "plain"]
    table, other = TextTable(texts), TextTable()
    assert table.texts == texts
    other.load_state_dict(table.state_dict())
    assert other.texts == texts
    assert len(other) == 4


def test_neighbours_are_what_most_people_took_besides() -> None:
    rows = [[0, 1, 1], [0, 1, 2], [1, 0], [3]]
    offsets = np.cumsum([0, *map(len, rows)])
    table = NeighbourTable(5, 2)
    table.fit(np.concatenate(rows), offsets)
    assert table.neighbours.tolist() == [[1, 2], [0, 2], [0, 1], [-1, -1], [-1, -1]]
    assert table.people.tolist() == [[3, 1], [3, 1], [1, 1], [0, 0], [0, 0]]
    table.fit(np.array([4, 0]), np.array([0, 2]))
    assert table.neighbours[:, 0].tolist() == [4, -1, -1, -1, 0]


def test_int8_weights_are_within_half_a_level_and_a_quarter_of_the_size() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(32, 16)
    small, x = Int8Linear(linear), torch.randn(4, 32)
    restored = small.weight.float() * small.scale[:, None]
    assert (restored - linear.weight).abs().le(small.scale[:, None] / 2 + 1e-7).all()
    torch.testing.assert_close(small(x), nn.functional.linear(x, restored, linear.bias))
    assert small.weight.element_size() * 4 == linear.weight.element_size()


def test_all_linears_but_the_head_are_quantised() -> None:
    model = nn.ModuleDict({"body": nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)), "lm_head": nn.Linear(4, 9)})
    assert quantise_linears(model) == 2
    assert isinstance(model["lm_head"], nn.Linear)
