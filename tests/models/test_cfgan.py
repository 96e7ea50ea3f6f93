from __future__ import annotations

import pytest
import torch

from recsmith.data import Histories
from recsmith.models.cfgan import Cfgan, CfganConfig
from recsmith.testing import ScoreModelTests
from recsmith.testing.logs import checkerboard
from recsmith.training import TrainingConfig, to_batch, train

SMALL = CfganConfig(hidden=24, negatives=0.5, dropout=0.2)


class TestCfgan(ScoreModelTests):
    model_class = Cfgan
    config = SMALL
    steps = 300


def parts(model: Cfgan) -> tuple[set[str], set[str]]:
    names = {name for name, _ in model.named_parameters()}
    generator = {name for name in names if name.startswith(("first", "out"))}
    return generator, names - generator


def test_the_two_nets_take_turns() -> None:
    model = Cfgan(SMALL.override(generator_steps=2), items=12)
    generator, discriminator = parts(model)
    batch = to_batch(Histories.from_rows([[1, 2], [3], []]))
    for step, turn in enumerate([generator, generator, discriminator, generator]):
        model.zero_grad(set_to_none=True)
        model.loss(batch, step).backward()
        assert {name for name, parameter in model.named_parameters() if parameter.grad is not None} == turn


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_training_neither_collapses_nor_diverges(seed: int) -> None:
    torch.manual_seed(seed)
    model = Cfgan(SMALL, items=12)
    histories = checkerboard()
    train(model, histories, TrainingConfig(epochs=100, batch_size=16, learning_rate=0.01, device="cpu"), seed=seed)
    batch = to_batch(histories)
    scores = model.eval().score(batch).detach()
    assert scores.isfinite().all()
    assert scores.std(0).mean() > 0.5  # rows differ: not one answer for everybody
    even = scores[0::2, 0::2].mean() - scores[0::2, 1::2].mean()
    assert even > 1
    assert torch.isfinite(model.loss(batch, 1))
