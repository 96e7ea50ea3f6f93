from __future__ import annotations

import torch

from recsmith.data import Histories
from recsmith.models.fissa import Fissa, FissaConfig
from recsmith.testing import ScoreModelTests
from recsmith.training import to_batch

SMALL = FissaConfig.parse({"dim": 16, "layers": 1, "hidden": 32, "dropout": 0.0, "max_history": 8, "init_std": 0.1, "negatives": 16})


class TestFissa(ScoreModelTests):
    model_class = Fissa
    config = SMALL
    sequential = True


@torch.no_grad()
def test_score_is_the_gated_mix_of_both_preferences() -> None:
    torch.manual_seed(0)
    model = Fissa(SMALL, items=12).eval()
    row = [3, 1, 4, 1]
    vectors = model.items(torch.tensor(row))
    local = model.encoder(vectors, torch.tensor([0, 4]))[-1]
    weights = (model.query(model.key(vectors)).squeeze(1) / 4).softmax(0)
    lasting = weights @ model.value(vectors)
    for item in range(12):
        candidate = model.items.weight[item]
        gate = (model.gate_context(torch.cat([vectors[-1], lasting])) + model.gate_item(candidate)).sigmoid()
        expected = gate * (local @ candidate) + (1 - gate) * (lasting @ candidate)
        torch.testing.assert_close(model.score(to_batch(Histories.from_rows([row])))[0, item], expected[0], rtol=1e-4, atol=1e-5)
