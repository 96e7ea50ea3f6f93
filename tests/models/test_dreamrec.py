from __future__ import annotations

import torch

from recsmith.data import Histories
from recsmith.models.dreamrec import DreamRec, DreamRecConfig
from recsmith.testing import ScoreModelTests
from recsmith.training import to_batch

SIZES = {"dim": 16, "width": 16, "layers": 1, "hidden": 32, "denoiser": 64, "max_history": 8}
SMALL = {**SIZES, "dropout": 0.0, "steps": 20, "answer_steps": 5}


class TestDreamRec(ScoreModelTests):
    model_class = DreamRec
    config = DreamRecConfig.parse(SMALL)
    sequential = True
    steps = 400


@torch.no_grad()
def test_items_of_the_same_people_lie_together() -> None:
    model = DreamRec(DreamRecConfig.parse({**SMALL, "width": 256, "rounds": 2}), items=7)
    rows = [[0, 1], [2, 3], [4, 5]] * 10
    model.observe(Histories.from_rows(rows))
    places = model.places()
    near = places @ places.T
    torch.testing.assert_close(near.diagonal()[:6], torch.ones(6))
    assert near[0, 1] > 0.99
    assert near[0, 2:6].abs().max() < 0.2
    assert not near[6].any()  # nobody chose it
    assert not places.requires_grad


@torch.no_grad()
def test_people_are_read_in_parts() -> None:
    whole, parts = (DreamRec(DreamRecConfig.parse(SMALL), items=4) for _ in range(2))
    parts.people_at_once = 2
    for model in (whole, parts):
        model.observe(Histories.from_rows([[0, 1], [2, 3], [0, 2], [1], []]))
    torch.testing.assert_close(whole.places(), parts.places())


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
