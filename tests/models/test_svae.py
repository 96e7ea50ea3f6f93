from __future__ import annotations

import torch

from recsmith.data import Histories
from recsmith.models.svae import Svae, SvaeConfig
from recsmith.testing import ScoreModelTests
from recsmith.training import to_batch

SMALL = {"dim": 16, "hidden": 24, "latent": 12, "dropout": 0.0, "max_history": 8, "init_std": 0.1, "annealing_steps": 100}


class TestSvae(ScoreModelTests):
    model_class = Svae
    config = SvaeConfig.parse({**SMALL, "ahead": 1, "kl_weight": 0.01})
    sequential = True


def test_each_step_predicts_the_events_that_follow_it() -> None:
    torch.manual_seed(0)
    model = Svae(SvaeConfig.parse({**SMALL, "ahead": 3, "kl_weight": 0}), items=12).eval()
    batch = to_batch(Histories.from_rows([[1, 5, 7, 2], [], [3]]))
    prefixes = [([], [1, 5, 7]), ([1], [5, 7, 2]), ([1, 5], [7, 2]), ([1, 5, 7], [2]), ([], [3])]
    expected = [model.score(to_batch(Histories.from_rows([prefix])))[0].log_softmax(0)[following] for prefix, following in prefixes]
    torch.testing.assert_close(model.loss(batch, 0), -torch.cat(expected).mean(), rtol=1e-4, atol=1e-5)


def test_noise_in_training_only() -> None:
    torch.manual_seed(0)
    model = Svae(SvaeConfig.parse(SMALL), items=12)
    batch = to_batch(Histories.from_rows([[1, 2, 3]]))
    assert model.train().loss(batch, 0) != model.loss(batch, 0)
    assert model.eval().loss(batch, 0) == model.loss(batch, 0)
