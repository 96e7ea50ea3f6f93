"""The how-to on rules and search runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import polars as pl
import torch

from recsmith.building import build_model
from recsmith.data import Dataset, ItemCodes, popularity
from recsmith.recipe import load_recipe
from recsmith.recommender import Recommender

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "rules-and-search.md"


def small_recommender() -> Recommender:
    data = Dataset.from_world(users=60, items=60, events=600)
    log = data.log()
    small = {"dim": 8, "heads": 1, "head_dim": 8, "ff_dim": 8, "encoder_layers": 1, "decoder_layers": 1}
    recipe = load_recipe("tiger", settings={"model": small, "decoding": {"beams": 10}})
    numbers = np.random.default_rng(0).permutation(125)[: len(log.items)]
    codes = ItemCodes(np.stack(np.unravel_index(numbers, (5, 5, 5)), axis=1).astype(np.int64), (5, 5, 5))
    torch.manual_seed(0)
    model = build_model(recipe, items=len(log.items), codes=codes).eval()
    counts = popularity(log.histories, len(log.items))
    return Recommender(recipe=recipe, model=model, log=log, popularity=counts, catalogue=data.catalogue, codes=codes)


def test_the_page_runs() -> None:
    page = PAGE.read_text(encoding="utf-8")
    recommender = small_recommender()
    names: dict = {"recommender": recommender}
    tables = []
    for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
        tables.append(names["table"])
    shop = recommender.catalogue.frame if recommender.catalogue is not None else pl.DataFrame()
    everybody = tables[0].join(shop, on="item_id")
    assert (everybody["stock"] > 0).all()
    assert (everybody["price"] <= 20).all()
    assert everybody.group_by("user_id", "provider").len()["len"].max() == 2
    assert "i00012" not in tables[1]["item_id"].to_list()
    assert names["another"].height == names["wider"].height == 8
