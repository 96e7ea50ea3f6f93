"""LLM4DSR: foreign events are found and replaced, and the rewritten histories stand in the place of the training events."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

pytest.importorskip("transformers")

import recsmith
from recsmith.augmentation.llm4dsr import Llm4Dsr, Llm4DsrConfig
from recsmith.data import Dataset, Histories
from recsmith.errors import DataError
from recsmith.protocols import Augmenter

NETWORK = {"dim": 32, "layers": 2, "heads": 2, "ff_dim": 64, "words": 300, "dropout": 0.0}
TINY = {"network": {**NETWORK, "dim": 16, "layers": 1}, "pretrain_steps": 2, "steps": 2, "window": 4}


def test_what_was_put_into_a_history_of_one_kind_is_found_and_replaced_by_its_kind() -> None:
    random = np.random.default_rng(0)
    items, kinds = 40, np.arange(40) % 2
    rows = [random.permutation(np.flatnonzero(kinds == row % 2))[:6] for row in range(80)]
    foreign = [(row, int(random.integers(6)), int(random.choice(np.flatnonzero(kinds != row % 2)))) for row in range(8)]
    for row, place, item in foreign:
        rows[row][place] = item
    train = Histories.from_rows([row.tolist() for row in rows])
    config = Llm4DsrConfig.parse(
        {
            "network": NETWORK,
            "tuner": {"method": "full"},
            "window": 6,
            "pretrain_steps": 60,
            "steps": 400,
            "batch_size": 16,
            "learning_rate": 0.01,
        }
    )
    writer = Llm4Dsr(config)
    assert isinstance(writer, Augmenter)
    writer.read(["red thing" if kind else "blue thing" for kind in kinds])
    found, enters = writer.write(train, items=items, seed=0)
    assert found.offsets.tolist() == train.offsets.tolist()
    assert not enters.any()
    changed = found.values != train.values
    wrong = {6 * row + place for row, place, _ in foreign}
    hits = set(np.flatnonzero(changed).tolist())
    assert len(hits & wrong) >= 6
    assert len(hits - wrong) <= 6
    for place in hits & wrong:
        row = place // 6
        assert kinds[found.values[place]] == row % 2
        assert found.values[place] not in train.row(row)
    figures = writer.figures()
    assert figures["instead"]
    assert figures["replaced"] == len(hits)


def rated(titles: bool = True) -> Dataset:
    rows = [(user, (user + step) % 12, step) for user in range(30) for step in range(8)]
    log = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    catalogue = pl.DataFrame({"item_id": list(range(12)), "title": [f"Chapter {item}" for item in range(12)]})
    return Dataset.from_frame(log, catalogue=catalogue if titles else None, name="walk")


def test_the_log_stays_as_it_is_and_the_model_learns_from_what_was_rewritten() -> None:
    settings = {"training": {"epochs": 1}, "model": {"dim": 8, "layers": 1, "hidden": 8}, "augmentation": {**TINY, "threshold": 0.01}}
    fitted = recsmith.fit("llm4dsr", rated(), settings=settings)
    figures = fitted.card["augmentation"]
    assert figures["instead"]
    assert figures["events"] == len(fitted.split().train.values)
    assert figures["replaced"] > 0
    assert fitted.history(3) == [(3 + step) % 12 for step in range(8)]
    with pytest.raises(DataError, match="writer `llm4dsr` speaks about items by title, but the data have no titles"):
        recsmith.fit("llm4dsr", rated(titles=False), settings=settings)
