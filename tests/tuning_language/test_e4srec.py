"""E4SRec: the promises of every model; injected vectors are what it reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")

from recsmith.data import Histories
from recsmith.errors import ConfigError
from recsmith.models.e4srec import E4srec, E4srecConfig
from recsmith.testing import ScoreModelTests
from recsmith.testing.logs import ITEMS, cycles
from recsmith.training import to_batch
from recsmith.tuning_language import LanguageNetwork, NetworkConfig, TunerConfig

NETWORK = {"dim": 32, "layers": 1, "heads": 2, "ff_dim": 64, "words": 300, "dropout": 0.0}
VECTORS = np.random.default_rng(0).standard_normal((ITEMS, 8)).astype(np.float32)


class TestE4srec(ScoreModelTests):
    model_class = E4srec
    config = E4srecConfig.parse({"network": NETWORK, "dropout": 0.0, "max_history": 8})
    sequential = True

    def build(self):
        return self.model_class(self.config, items=ITEMS, vectors=VECTORS)


def test_items_of_equal_vectors_are_read_alike() -> None:
    vectors = VECTORS.copy()
    vectors[5] = vectors[2]
    model = E4srec(TestE4srec.config, items=ITEMS, vectors=vectors).eval()
    with torch.no_grad():
        scores = model.score(to_batch(Histories.from_rows([[1, 2], [1, 5], [1, 3]])))
    assert torch.equal(scores[0], scores[1])
    assert not torch.allclose(scores[0], scores[2])


def test_it_tunes_a_folder_of_another_width_and_needs_it_no_more(tmp_path: Path) -> None:
    source = LanguageNetwork(NetworkConfig.parse({**NETWORK, "dim": 16}), TunerConfig())
    source.make(["Taken so far"])
    source.save_folder(tmp_path / "model")
    config = E4srecConfig.parse({"network": {"folder": str(tmp_path / "model")}, "tuner": {"method": "lora", "rank": 2}, "dropout": 0.0})
    model = E4srec(config, items=ITEMS, vectors=VECTORS)
    model.observe(cycles())
    learns = {name for name, one in model.named_parameters() if one.requires_grad}
    assert all(name.startswith(("inject", "judge")) or name.endswith((".up", ".down")) for name in learns)
    (tmp_path / "model").rename(tmp_path / "gone")
    other = E4srec(config, items=ITEMS, vectors=VECTORS)
    other.load_state_dict(model.state_dict())
    asked = to_batch(Histories.from_rows([[1, 2], []]))
    with torch.no_grad():
        assert torch.equal(other.eval().score(asked), model.eval().score(asked))


def test_what_cannot_read_vectors_is_refused() -> None:
    for settings in ({"tuner": {"method": "prefix"}}, {"network": {"kind": "t5"}}):
        with pytest.raises(ConfigError, match="injects vectors into a decoder-only model; use kind = causal"):
            E4srec(E4srecConfig.parse(settings), items=ITEMS, vectors=VECTORS)
