from __future__ import annotations

import torch

from recsmith.data import Histories
from recsmith.models.idnp import Idnp, IdnpConfig
from recsmith.testing import ScoreModelTests
from recsmith.training import to_batch

SMALL = {
    "dim": 16,
    "hidden": 24,
    "latent": 12,
    "dropout": 0.0,
    "max_history": 8,
    "init_std": 0.1,
    "annealing_steps": 100,
    "kl_weight": 0.01,
}


class TestIdnp(ScoreModelTests):
    model_class = Idnp
    config = IdnpConfig.parse(SMALL)
    sequential = True


def test_what_is_known_is_a_strict_beginning_of_each_row() -> None:
    torch.manual_seed(0)
    model = Idnp(IdnpConfig.parse(SMALL), items=12)
    offsets = torch.tensor([0, 5, 5, 6, 10])
    for _ in range(50):
        known = model._cut(offsets, tokens=10)
        for start, end in ((0, 5), (5, 6), (6, 10)):
            row = known[start:end].tolist()
            assert row == sorted(row, reverse=True)
            assert not row[-1]


@torch.no_grad()
def test_interests_do_not_depend_on_the_order_of_events() -> None:
    model = Idnp(IdnpConfig.parse(SMALL), items=12).eval()
    offsets = torch.tensor([0, 3])
    first, second = (model.interest(torch.tensor(row), offsets)[0] for row in ([1, 5, 7], [7, 1, 5]))
    torch.testing.assert_close(first, second)
    forward, backward = (model.score(to_batch(Histories.from_rows([row]))) for row in ([1, 5, 7], [7, 5, 1]))
    assert not torch.allclose(forward, backward)
