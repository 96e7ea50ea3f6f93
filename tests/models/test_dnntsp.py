from __future__ import annotations

import numpy as np
import torch

from recsmith.models.dnntsp import Dnntsp, DnntspConfig
from recsmith.nn.baskets import PackedBaskets
from recsmith.testing import BasketModelTests, basket_rows
from recsmith.training import to_batch

SMALL = {"dim": 16, "heads": 2, "dropout": 0.0, "max_history": 8, "init_std": 0.1, "ages": 4}


class TestDnntsp(BasketModelTests):
    model_class = Dnntsp
    config = DnntspConfig.parse(SMALL)
    personalised = False  # unseen items have one score for all, as in the paper; what it learns is tested below


@torch.no_grad()
def test_items_exchange_vectors_by_how_often_the_person_took_them_together() -> None:
    torch.manual_seed(0)
    model = Dnntsp(DnntspConfig.parse({**SMALL, "layers": 1}), items=6).eval()
    baskets = [[0, 1, 2], [0, 1], [0]]
    batch = to_batch(basket_rows([[[5]], baskets]))
    packed = PackedBaskets.of(batch, items=6)
    together = np.array([[sum(i in basket and j in basket for basket in baskets) for j in range(3)] for i in range(3)], dtype=np.float32)
    vectors, convolution = model.items.weight[:3], model.convolutions[0]
    expected = []
    for basket in baskets:
        weights = torch.from_numpy(together[np.ix_(basket, basket)])
        expected.append(convolution(weights / weights.sum(1, keepdim=True) @ vectors[basket]).relu())
    torch.testing.assert_close(model._inside_baskets(packed)[1:], torch.cat(expected))


@torch.no_grad()
def test_only_items_of_the_past_have_scores_of_their_own() -> None:
    torch.manual_seed(0)
    model = Dnntsp(DnntspConfig.parse(SMALL), items=8).eval()
    scores = model.score(to_batch(basket_rows([[[1, 2], [3]], [[5]], []])))
    static = scores[2]
    assert (scores[0] != static).nonzero()[:, 0].tolist() == [1, 2, 3]
    assert (scores[1] != static).nonzero()[:, 0].tolist() == [5]
    model.gate.fill_(-100.0)  # a closed gate leaves the static vector
    torch.testing.assert_close(model.score(to_batch(basket_rows([[[1, 2], [3]], [[5]], []]))), static.expand(3, -1))


def test_strangers_who_alternate_are_told_what_comes_back() -> None:
    """Each person alternates between two baskets of own items, as frequent as any: the next one is the last but one."""
    random = np.random.default_rng(0)
    items = np.stack([random.permutation(20)[:6] for _ in range(150)]).tolist()
    people = [[row[:3], row[3:], row[:3], row[3:]] for row in items]
    torch.manual_seed(0)
    model = Dnntsp(DnntspConfig.parse({**SMALL, "max_history": 20}), items=20)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(60):
        optimizer.zero_grad()
        model.loss(to_batch(basket_rows(people[:100])), step).backward()
        optimizer.step()
    for known in (2, 3):
        best = model.eval().score(to_batch(basket_rows([person[:known] for person in people[100:]]))).topk(3).indices.tolist()
        assert np.mean([set(found) == set(person[known]) for found, person in zip(best, people[100:], strict=True)]) > 0.95
