from __future__ import annotations

from typing import Any

import polars as pl
import pytest
import torch

import recsmith
from recsmith.data import Dataset
from recsmith.data.item_facts import ItemFacts
from recsmith.errors import DataError
from recsmith.models.hamur import Hamur, HamurConfig, HyperAdapters
from recsmith.testing.logs import ITEMS, awkward
from recsmith.testing.models import ScoreModelTests
from recsmith.training import to_batch

SMALL = {"dim": 16, "layers": 1, "heads": 2, "hidden": 32, "dropout": 0.0, "max_history": 8, "init_std": 0.1, "domains": 3, "rank": 2}
FACTS = ItemFacts([[["war", "love", "rare", "odd"][item % 4]] for item in range(ITEMS)], [None] * ITEMS)


class TestHamur(ScoreModelTests):
    model_class = Hamur
    config = HamurConfig.parse(SMALL)
    sequential = True

    def build(self) -> Any:
        model = Hamur(self.config, items=ITEMS)
        model.read_facts(FACTS)
        return model


def test_the_adapters_are_the_papers_formula() -> None:
    torch.manual_seed(0)
    adapters = HyperAdapters(4, domains=2, rank=2, hyper=3)
    torch.nn.init.normal_(adapters.outward)
    x = torch.randn(5, 4)
    found = adapters(x)
    for row in range(5):
        middle = adapters.hyper(x[row]).view(2, 2) + torch.eye(2)
        for domain in range(2):
            low = torch.nn.functional.gelu(x[row] @ adapters.inward[domain] @ middle)
            torch.testing.assert_close(found[row, domain], x[row] + adapters.norm(low @ adapters.outward[domain]))


@torch.no_grad()
def test_a_domains_adapter_moves_its_items_alone() -> None:
    model = TestHamur().build().eval()
    assert model.domain.tolist() == [0, 1, 2, 2] * (ITEMS // 4)
    before = model.score(to_batch(awkward()))
    model.adapters.outward[1] += torch.randn(2, 16)
    moved = (model.score(to_batch(awkward())) - before).abs().amax(0) > 1e-6
    assert moved.tolist() == (model.domain == 1).tolist()


def test_the_recipe_wants_categories(tmp_path: Any) -> None:
    rows = [(user, (user + step) % 6, step) for user in range(20) for step in range(5)]
    log = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    titles = pl.DataFrame({"item_id": range(6), "title": list("abcdef")})
    settings = {"training": {"epochs": 1}, "model": {**SMALL, "dim": 8}}
    with pytest.raises(DataError, match="HAMUR divides items by their first category, but the catalogue names none"):
        recsmith.fit("hamur", Dataset.from_frame(log, catalogue=titles), settings=settings)
    kinds = titles.with_columns(genres=pl.Series([["war"], ["love"]] * 3))
    fitted = recsmith.fit("hamur", Dataset.from_frame(log, catalogue=kinds), settings=settings)
    fitted.save(tmp_path / "run")
    loaded = recsmith.load(tmp_path / "run")
    assert loaded.model.domain.tolist() == [0, 1] * 3
    assert loaded.recommend(users="all", k=3).equals(fitted.recommend(users="all", k=3))
