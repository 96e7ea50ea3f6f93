from __future__ import annotations

import torch

from recsmith.data import Histories
from recsmith.models.dcrec import DcRec, DcRecConfig
from recsmith.testing import ScoreModelTests
from recsmith.training import to_batch

SMALL = {"dim": 16, "layers": 1, "denoising_layers": 1, "hidden": 32, "dropout": 0.0, "max_history": 8, "steps": 20}


class TestDcRec(ScoreModelTests):
    model_class = DcRec
    config = DcRecConfig.parse(SMALL)
    sequential = True
    steps = 200


def model(**settings: object) -> DcRec:
    torch.manual_seed(0)
    return DcRec(DcRecConfig.parse({**SMALL, "init_std": 0.3, **settings}), items=12).eval()


@torch.no_grad()
def test_both_conditions_reach_the_answer() -> None:
    """Cut off the memory, or the history beside the noisy target: either changes what is restored, and both together leave nothing."""
    dcrec = model()
    one, other = (to_batch(Histories.from_rows([row])) for row in ([1, 2, 3], [7, 8, 3]))
    whole = dcrec.score(one)
    assert not torch.allclose(whole, dcrec.score(other), atol=1e-3)
    cut_memory = model()
    cut_memory.blocks[0].look.project_out.weight.zero_()
    assert not torch.allclose(whole, cut_memory.score(one), atol=1e-3)
    assert not torch.allclose(cut_memory.score(one), cut_memory.score(other), atol=1e-3)
    cut_memory.blocks[0].mix.project_out.weight.zero_()
    torch.testing.assert_close(cut_memory.score(one), cut_memory.score(other))


@torch.no_grad()
def test_one_step_back_is_one_restoration_from_the_mean_of_the_noise() -> None:
    dcrec = model(answer_steps=1)
    batch = to_batch(Histories.from_rows([[1, 2], []]))
    restored = dcrec._restore(batch.items, batch.offsets, torch.zeros(2, 16), torch.tensor([19, 19]))
    torch.testing.assert_close(dcrec.score(batch), restored @ dcrec.items.weight.T)
