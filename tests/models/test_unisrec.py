from __future__ import annotations

from typing import Any

import numpy as np
import torch

from recsmith.models.unisrec import Unisrec, UnisrecConfig, WhiteningMixture
from recsmith.protocols import HistoryBatch
from recsmith.testing.logs import ITEMS, awkward, cycles
from recsmith.testing.models import ScoreModelTests
from recsmith.training import to_batch

SMALL = {"dim": 16, "layers": 1, "heads": 2, "hidden": 32, "dropout": 0.0, "adaptor_dropout": 0.0, "experts": 2, "max_history": 8}


def texts() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(ITEMS, 10)).astype(np.float32)


class TestUnisrec(ScoreModelTests):
    model_class = Unisrec
    config = UnisrecConfig.parse({**SMALL, "init_std": 0.1})
    sequential = True
    steps = 80
    learning_rate = 2e-2

    def build(self) -> Any:
        return Unisrec(self.config, items=ITEMS, vectors=texts())


@torch.no_grad()
def test_pre_training_contrasts_items_and_views() -> None:
    config = UnisrecConfig.parse({**SMALL, "objective": "contrastive", "item_drop": 0.0, "sequence_weight": 0.0})
    torch.manual_seed(0)
    model = Unisrec(config, items=ITEMS, vectors=texts()).eval()
    batch = to_batch(cycles(users=6))
    items_alone = model.loss(batch, 0)
    model.config = config.override(sequence_weight=1.0)
    # without dropped events both views are equal, so each is found among the batch with the cosine 1
    states = torch.nn.functional.normalize(_final(model, batch), dim=1)
    expected = torch.nn.functional.cross_entropy(states @ states.T / config.temperature, torch.arange(6))
    torch.testing.assert_close(model.loss(batch, 0) - items_alone, expected)


def test_ids_add_a_vector_of_the_items_own() -> None:
    model = Unisrec(UnisrecConfig.parse({**SMALL, "ids": True}), items=ITEMS, vectors=texts()).eval()
    assert model.ids is not None
    torch.testing.assert_close(model._item_table() - model.adaptor(model.texts.values), model.ids.weight)


def test_the_adaptor_is_the_papers_formula() -> None:
    torch.manual_seed(0)
    mixture = WhiteningMixture(5, 3, experts=2, dropout=0.0).eval()
    for parameter in mixture.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(4, 5)
    gates = (x @ mixture.gates).softmax(1)
    expected = sum(gates[:, k, None] * ((x - mixture.shifts[k]) @ mixture.weights[k]) for k in range(2))
    torch.testing.assert_close(mixture(x), expected)


def _final(model: Unisrec, batch: HistoryBatch) -> torch.Tensor:
    table = model._item_table()
    return model.final_states(model._encode(batch, table), batch)


def test_the_weights_do_not_know_the_catalogue() -> None:
    small, large = (Unisrec(UnisrecConfig.parse(SMALL), items=count, vectors=np.ones((count, 10))) for count in (3, 30))
    assert small.inductive
    large.load_state_dict(small.state_dict())
    assert not Unisrec(UnisrecConfig.parse({**SMALL, "ids": True}), items=3, vectors=np.ones((3, 10))).inductive


def test_tuning_the_adaptor_moves_nothing_else() -> None:
    model = Unisrec(UnisrecConfig.parse({**SMALL, "tuned": "adaptor"}), items=ITEMS, vectors=texts())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD([parameter for parameter in model.parameters() if parameter.requires_grad], lr=0.1)
    model.loss(to_batch(cycles()), 0).backward()
    optimizer.step()
    moved = {name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"adaptor"}


def test_the_kept_table_follows_the_weights() -> None:
    model = Unisrec(UnisrecConfig.parse(SMALL), items=ITEMS, vectors=texts()).eval()
    with torch.no_grad():
        first = model.score(to_batch(awkward()))
        assert torch.equal(first, model.score(to_batch(awkward())))
        model.adaptor.weights.mul_(-1)
        changed = model.score(to_batch(awkward()))
        assert not torch.allclose(first, changed)
        model.adaptor.weights.mul_(-1)
        torch.testing.assert_close(model.score(to_batch(awkward())), first)
