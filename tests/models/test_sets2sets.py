from __future__ import annotations

import numpy as np
import pytest
import torch

from recsmith.data import Histories
from recsmith.models.sets2sets import Sets2Sets, Sets2SetsConfig
from recsmith.nn.baskets import PackedBaskets
from recsmith.testing import BasketModelTests, basket_rows
from recsmith.training import to_batch

SMALL = {"dim": 16, "hidden": 24, "dropout": 0.0, "max_history": 8, "init_std": 0.1}


class TestSets2Sets(BasketModelTests):
    model_class = Sets2Sets
    config = Sets2SetsConfig.parse(SMALL)
    sequential = True


@torch.no_grad()
def test_what_is_repeated_is_blended_by_the_formula_of_the_paper() -> None:
    torch.manual_seed(0)
    model = Sets2Sets(Sets2SetsConfig.parse(SMALL), items=5).eval()
    model.gate.copy_(torch.tensor([0.3, -1.0, 2.0, 0.0, 0.5]))
    plain = Sets2Sets(Sets2SetsConfig.parse({**SMALL, "repeats": False}), items=5).eval()
    plain.load_state_dict(model.state_dict())
    batch = to_batch(basket_rows([[[0, 2], [2]], []]))
    generated = plain.score(batch).exp()
    gates, frequencies, past = model.gate.sigmoid(), torch.tensor([1 / 3, 0, 2 / 3, 0, 0]), torch.tensor([1.0, 0, 1, 0, 0])
    expected = generated[0] * (1 - past * gates) + frequencies * gates * past
    torch.testing.assert_close(model.score(batch)[0].exp(), expected / expected.sum())
    torch.testing.assert_close(model.score(batch)[1].exp(), generated[1])


@torch.no_grad()
def test_the_loss_is_the_mean_over_baskets_answered_one_by_one() -> None:
    torch.manual_seed(1)
    model = Sets2Sets(Sets2SetsConfig.parse(SMALL), items=6).eval()
    people = [[[0, 1], [1, 2], [0, 5]], [[3]], [[4, 5], [4]]]
    logs = [
        model.score(to_batch(basket_rows([person[:place]])))[0, item].item()
        for person in people
        for place, basket in enumerate(person)
        for item in basket
    ]
    assert model.loss(to_batch(basket_rows(people)), 0).item() == pytest.approx(-np.mean(logs), rel=1e-4)


def test_gates_tell_what_people_repeat_from_what_follows() -> None:
    """Every basket holds an own favourite of the person (0 … 11) and the next of a cycle that all share (12 … 17)."""
    random = np.random.default_rng(0)
    favourites, begins = random.integers(0, 12, 120), random.integers(0, 6, 120)
    people = [[[one, 12 + (begin + day) % 6] for day in range(4)] for one, begin in zip(favourites.tolist(), begins.tolist(), strict=True)]
    torch.manual_seed(0)
    model = Sets2Sets(Sets2SetsConfig.parse({**SMALL, "max_history": 20}), items=18)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    for step in range(60):
        optimizer.zero_grad()
        model.loss(to_batch(basket_rows(people)), step).backward()
        optimizer.step()
    best = model.eval().score(to_batch(basket_rows(people))).topk(2).indices.sort(1).values
    assert best[:, 0].tolist() == favourites.tolist()
    assert best[:, 1].tolist() == (12 + (begins + 4) % 6).tolist()
    gates = model.gate.detach()
    assert gates[:12].mean() > gates[12:].mean() + 1


def test_a_histories_baskets_are_those_of_the_config() -> None:
    model = Sets2Sets(Sets2SetsConfig.parse({**SMALL, "basket_seconds": 10.0}), items=6)
    histories = Histories(np.array([1, 2, 3]), np.array([0, 3]), np.array([100.0, 105.0, 111.0]))
    read = model.reader.baskets(to_batch(histories))
    assert isinstance(read, PackedBaskets)
    assert read.bounds.tolist() == [0, 2, 3]
