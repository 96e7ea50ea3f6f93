"""Negatives chosen by an adversary: any model that draws them, one setting."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from recsmith.data import Histories
from recsmith.errors import ConfigError
from recsmith.models.fissa import Fissa, FissaConfig
from recsmith.models.gru4rec import Gru4Rec, Gru4RecConfig
from recsmith.models.hstu import Hstu, HstuConfig
from recsmith.models.popularity import Popularity
from recsmith.models.sasrec import Sasrec, SasrecConfig
from recsmith.nn.adversarial import Adversary, AdversaryConfig, policy_gradient
from recsmith.nn.negatives import chosen_by, uniform_negatives
from recsmith.training import NegativesConfig, TrainingConfig, learner_of, to_batch, train

ADVERSARIAL = NegativesConfig(source="adversarial", pool=64)
ITEMS, TASTES = 60, 6
SMALL: dict[str, Any] = {"dim": 16, "layers": 1, "hidden": 16, "dropout": 0.0}


def tastes(*, users: int = 96, length: int = 8) -> Histories:
    """User u walks around the ten items of taste u % 6, from any of them: the next item is certain."""
    return Histories.from_rows([((np.arange(length) + user // TASTES) % 10 + 10 * (user % TASTES)).tolist() for user in range(users)])


def own_taste(items: torch.Tensor, targets: torch.Tensor) -> float:
    """Share of negatives `[token, negative]` that are of the taste of their target."""
    return (items // 10 == targets[:, None] // 10).float().mean().item()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_adversary_finds_harder_negatives_and_training_does_not_collapse(seed: int) -> None:
    torch.manual_seed(seed)
    model = Sasrec(SasrecConfig(loss="bce", **{**SMALL, "heads": 1}), items=ITEMS)
    learner = learner_of(model, ADVERSARIAL, items=ITEMS)
    train(learner, tastes(), TrainingConfig(epochs=70, batch_size=32, learning_rate=0.01, device="cpu"), seed=seed)
    scores = model.eval().score(to_batch(tastes())).detach()
    targets = torch.tensor([row[-1] // 10 * 10 + (row[-1] + 1) % 10 for row in map(tastes().row, range(len(scores)))])
    uniform = uniform_negatives(targets, items=ITEMS, count=50)
    with chosen_by(learner.adversary):
        chosen = uniform_negatives(targets, items=ITEMS, count=50)
    assert (chosen != targets[:, None]).all()
    assert scores.gather(1, chosen).mean() > scores.gather(1, uniform).mean() + 1
    assert own_taste(chosen, targets) > 2 * own_taste(uniform, targets)
    assert len(chosen.unique()) > ITEMS / 2  # the adversary has not fallen in love with a few items
    assert scores.isfinite().all()
    assert (scores.argmax(1) == targets).float().mean() > 0.6  # by chance: 1 / 60


@pytest.mark.parametrize(
    "model",
    [
        Sasrec(SasrecConfig(loss="gbce", negatives=4, heads=1, **SMALL), items=ITEMS),
        Sasrec(SasrecConfig(loss="sampled-softmax", negatives=8, sampling="in-batch", heads=1, **SMALL), items=ITEMS),
        Gru4Rec(Gru4RecConfig(loss="bpr-max", negatives=8, dim=16, hidden=16), items=ITEMS),
        Gru4Rec(Gru4RecConfig(loss="top1-max", negatives=8, sampling="uniform", dim=16, hidden=16), items=ITEMS),
        Hstu(HstuConfig(loss="sampled-softmax", negatives=8, dim=16, layers=1, heads=1), items=ITEMS),
        Fissa(FissaConfig(negatives=8, heads=1, **SMALL), items=ITEMS),
    ],
    ids=lambda model: f"{type(model).__name__}-{getattr(model.config, 'loss', '')}",
)
def test_every_model_that_draws_negatives_takes_them_from_the_adversary(model: Any) -> None:
    learner = learner_of(model, ADVERSARIAL, items=ITEMS).train()
    learner.loss(to_batch(tastes()), 0).backward()
    for part in (learner.adversary.items, learner.model.items):
        assert part.weight.grad is not None
        assert part.weight.grad.isfinite().all()
        assert part.weight.grad.abs().sum() > 0


def test_the_reported_loss_is_the_models_and_each_has_its_own_gradient() -> None:
    model = Sasrec(SasrecConfig(loss="bce", heads=1, **SMALL), items=ITEMS)
    learner, batch = learner_of(model, ADVERSARIAL, items=ITEMS), to_batch(tastes())
    torch.manual_seed(5)
    together = learner.loss(batch, 0)
    together.backward()
    gradient = model.items.weight.grad
    model.zero_grad(set_to_none=True)
    torch.manual_seed(5)
    with chosen_by(learner.adversary):
        alone = model.loss(batch, 0)
    alone.backward()
    assert together.item() == alone.item()
    torch.testing.assert_close(gradient, model.items.weight.grad, rtol=0, atol=0)


def test_policy_gradient_against_the_formula() -> None:
    logits = torch.zeros(3, requires_grad=True)
    policy_gradient(logits.log_softmax(0)[torch.tensor([0, 1])], torch.tensor([3.0, 1.0])).backward()
    # advantages 1 and -1: -(1/2) (grad log p_0 - grad log p_1)
    torch.testing.assert_close(logits.grad, torch.tensor([-0.5, 0.5, 0.0]))
    assert policy_gradient(torch.zeros(0), torch.zeros(0)) == 0


def test_shared_draws_are_rewarded_where_they_are_not_the_target() -> None:
    adversary = Adversary(AdversaryConfig(pool=2), items=4)
    pool = torch.tensor([0, 1])
    places, probabilities = adversary.choose(pool, None, count=2)
    assert probabilities.sum() == pytest.approx(1)
    adversary.hear(torch.zeros(3, 2), torch.ones(3, 2, dtype=torch.bool))
    own = adversary.take_loss()
    assert own is not None
    assert own == 0  # nothing counted
    assert adversary.take_loss() is None


def test_a_model_without_negatives_says_so() -> None:
    model = Sasrec(SasrecConfig(heads=1, **SMALL), items=ITEMS)
    learner = learner_of(model, ADVERSARIAL, items=ITEMS)
    with pytest.raises(ConfigError, match="has nothing to choose: this model, as set, draws no negatives; set a loss that does"):
        learner.loss(to_batch(tastes()), 0)
    with pytest.raises(ConfigError, match="draws no negatives"):
        learner_of(Popularity(Popularity.Config(), items=ITEMS), ADVERSARIAL, items=ITEMS)
    assert learner_of(model, NegativesConfig(), items=ITEMS) is model
