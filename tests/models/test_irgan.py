from __future__ import annotations

import pytest
import torch

from recsmith.data import Histories
from recsmith.models.irgan import Irgan, IrganConfig
from recsmith.testing import ScoreModelTests
from recsmith.testing.logs import checkerboard
from recsmith.training import TrainingConfig, to_batch, train

SMALL = IrganConfig(dim=16, samples=8, likelihood_steps=60)


class TestIrgan(ScoreModelTests):
    model_class = Irgan
    config = SMALL
    steps = 300


def test_warm_up_then_the_players_take_turns() -> None:
    model = Irgan(SMALL.override(likelihood_steps=1, generator_steps=1, discriminator_steps=2), items=12)
    batch = to_batch(Histories.from_rows([[1, 2], [3], []]))
    for step, turn in enumerate(["generator", "generator", "discriminator", "discriminator", "generator"]):
        model.zero_grad(set_to_none=True)
        model.loss(batch, step).backward()
        assert {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.grad is not None} == {turn}


def test_the_generator_moves_to_what_the_discriminator_likes() -> None:
    torch.manual_seed(0)
    config = SMALL.override(likelihood_steps=0, likelihood_weight=0, samples=64, own_share=0, dropout=0)
    model = Irgan(config, items=6)
    with torch.no_grad():
        model.discriminator.item.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 0.0, 8.0, 8.0]))
    batch = to_batch(Histories.from_rows([[0, 1], [2, 3]]))
    optimizer = torch.optim.Adam(model.generator.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        model.loss(batch, 0).backward()
        optimizer.step()
    assert (model.eval().score(batch).softmax(1)[:, 4:].sum(1) > 0.9).all()


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("likelihood_weight", [0.0, 0.1])
def test_training_neither_collapses_nor_diverges(seed: int, likelihood_weight: float) -> None:
    torch.manual_seed(seed)
    model = Irgan(SMALL.override(likelihood_weight=likelihood_weight), items=12)
    histories = checkerboard()
    train(model, histories, TrainingConfig(epochs=120, batch_size=16, learning_rate=0.01, device="cpu"), seed=seed)
    batch = to_batch(histories)
    scores = model.eval().score(batch).detach()
    assert scores.isfinite().all()
    assert scores.std(0).mean() > 0.5  # rows differ: not one answer for everybody
    assert scores[0::2, 0::2].mean() - scores[0::2, 1::2].mean() > 1
    shares = scores[0::2].softmax(1)[:, 0::2].mean(0)
    assert shares.max() < 0.5  # not one item for everybody of a kind
    for step in (SMALL.likelihood_steps, SMALL.likelihood_steps + 1):
        assert torch.isfinite(model.loss(batch, step))
