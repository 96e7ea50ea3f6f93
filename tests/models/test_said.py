"""SAID: the promises of every model, vectors that say their texts, and a sequential model that starts from them."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("transformers")

import torch

from recsmith.errors import ConfigError, DataError
from recsmith.models.said import Said, SaidConfig
from recsmith.testing import ScoreModelTests
from recsmith.testing.logs import ITEMS, cycles

NETWORK = {"dim": 32, "layers": 1, "heads": 2, "ff_dim": 64, "words": 300, "dropout": 0.0}
SMALL = {"dim": 16, "layers": 1, "hidden": 32, "dropout": 0.0}
SMALL_GRU = {"dim": 16, "hidden": 32, "dropout": 0.0}
SMALL_STEPS = {"network": NETWORK, "steps": 3}
TITLES = [f"{colour} {thing}" for colour in ("red", "blue", "green") for thing in ("apple", "harbour", "engine", "song")]


class TestSaid(ScoreModelTests):
    model_class = Said
    config = SaidConfig.parse({**SMALL_STEPS, "downstream_settings": SMALL})
    sequential = True

    def build(self) -> Said:
        model = super().build()
        model.read(TITLES)
        return model


class TestSaidBeforeGru4Rec(TestSaid):
    config = SaidConfig.parse({**SMALL_STEPS, "hidden": 8, "downstream": "gru4rec", "downstream_settings": SMALL_GRU})


def test_the_vectors_say_the_texts_and_texts_alike_have_vectors_alike() -> None:
    torch.manual_seed(0)
    model = Said(SaidConfig.parse({"network": NETWORK, "steps": 120, "fixed": True, "downstream_settings": SMALL}), items=ITEMS)
    model.read(TITLES)
    vectors = model.learn_vectors()
    assert model.figures()["tokens said right"] > 0.95
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    near = unit @ unit.T
    shares = np.array([[len(set(one.split()) & set(other.split())) for other in TITLES] for one in TITLES])
    assert near[shares == 1].mean() > near[shares == 0].mean() + 0.1


def test_the_sequential_model_starts_from_them_and_may_keep_them() -> None:
    torch.manual_seed(0)
    model = Said(SaidConfig.parse({"network": NETWORK, "steps": 3, "fixed": True, "downstream_settings": SMALL}), items=ITEMS)
    model.read(TITLES)
    before = model.downstream.items.weight.clone()
    model.observe(cycles())
    assert not torch.equal(before, model.downstream.items.weight)
    assert not model.downstream.items.weight.requires_grad
    names = dict(model.named_parameters())
    assert all(name.startswith("downstream.") for name in names)  # the language model is gone
    again = Said(model.config, items=ITEMS)
    again.read(TITLES)
    again.load_state_dict(model.state_dict())
    again.observe(cycles())
    assert torch.equal(again.downstream.items.weight, model.downstream.items.weight)


def test_bad_input_is_named() -> None:
    with pytest.raises(DataError, match="Said has read no item texts; fit it on data with a catalogue"):
        Said(SaidConfig.parse({"network": NETWORK}), items=ITEMS).observe(cycles())
    model = Said(SaidConfig.parse({"network": {**NETWORK, "kind": "t5"}}), items=ITEMS)
    model.read(TITLES)
    with pytest.raises(ConfigError, match="SAID needs a decoder-only language model"):
        model.observe(cycles())
