from __future__ import annotations

import torch

from recsmith.data import Histories
from recsmith.models.dreamrec import DreamRec, DreamRecConfig
from recsmith.testing import ScoreModelTests
from recsmith.training import to_batch

SMALL = {"dim": 16, "layers": 1, "hidden": 32, "dropout": 0.0, "max_history": 8, "steps": 20, "answer_steps": 5, "denoiser": 64}


class TestDreamRec(ScoreModelTests):
    model_class = DreamRec
    config = DreamRecConfig.parse(SMALL)
    sequential = True
    steps = 400


def test_targets_have_one_length_and_no_gradient() -> None:
    model = DreamRec(DreamRecConfig.parse(SMALL), items=12)
    targets = model._targets()
    torch.testing.assert_close(targets.norm(dim=1), torch.full((12,), 4.0))
    assert not targets.requires_grad


@torch.no_grad()
def test_guidance_moves_the_dream_away_from_the_unguided_one() -> None:
    torch.manual_seed(0)
    batch = to_batch(Histories.from_rows([[1, 2, 3]]))
    model = DreamRec(DreamRecConfig.parse({**SMALL, "answer_steps": 1, "guidance": 0}), items=12).eval()
    plain = model.dream(batch)
    model.config = model.config.override(guidance=3)
    steps = torch.tensor([19])
    unguided = model._restore(torch.zeros(1, 16), model.nothing[None], steps)
    torch.testing.assert_close(model.dream(batch), plain + 3 * (plain - unguided), rtol=1e-4, atol=1e-5)
