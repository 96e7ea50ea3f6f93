"""Uni-CTR: the promises of every model, and that domains with opposite tastes need networks of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

pytest.importorskip("transformers")

import recsmith
from recsmith.data import Dataset, Histories
from recsmith.data.item_facts import ItemFacts
from recsmith.errors import ConfigError, DataError
from recsmith.models.uni_ctr import UniCtr, UniCtrConfig
from recsmith.testing import ScoreModelTests
from recsmith.testing.logs import ITEMS, cycles
from recsmith.training import to_batch

TINY = {
    "network": {"dim": 16, "layers": 2, "heads": 2, "ff_dim": 32, "words": 300, "dropout": 0.0},
    "pretrain_steps": 2, "told_history": 2, "candidates": 4, "domains": 2, "ladder_heads": 2, "ladder_hidden": 16, "ladder_dropout": 0.0,
}  # fmt: skip
KINDS = ["film", "book", "game"]
TITLES = [f"{'red' if item % 2 else 'blue'} {'loud' if item % 4 < 2 else 'quiet'}" for item in range(24)]
FACTS = ItemFacts([[KINDS[item // 8]] for item in range(24)], [None] * 24)


class TestUniCtr(ScoreModelTests):
    model_class = UniCtr
    config = UniCtrConfig.parse(TINY)
    personalised = False  # what it learns is tested below

    def build(self) -> Any:
        model = super().build()
        model.read_facts(ItemFacts([[KINDS[item % 3]] for item in range(ITEMS)], [None] * ITEMS))
        model.read([f"Chapter {number}" for number in range(ITEMS)])
        model.observe(cycles())
        return model


def loved(item: int) -> bool:
    """Red films and blue books."""
    return item % 2 == (1 if item < 8 else 0)


def loud(item: int) -> bool:
    """What is loud, in every domain."""
    return item % 4 < 2


def opinions(pleases: Callable[[int], bool], people: int = 12) -> Histories:
    """Everybody rates ten items: five stars for what pleases, one star for the rest."""
    random = np.random.default_rng(0)
    bare = Histories.from_rows([random.permutation(24)[:10].tolist() for _ in range(people)])
    return Histories(bare.values, bare.offsets, None, np.array([5.0 if pleases(i) else 1.0 for i in bare.values], dtype=np.float32))


def learned(facts: ItemFacts, pleases: Callable[[int], bool], *, steps: int, **settings: Any) -> UniCtr:
    torch.manual_seed(0)
    model = UniCtr(UniCtrConfig.parse({**TINY, "label": "liked", "told_history": 1, **settings}), items=24)
    model.read_facts(facts)
    model.read(TITLES)
    histories = opinions(pleases)
    model.observe(histories)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(steps):
        optimizer.zero_grad()
        model.train().loss(to_batch(histories), step).backward()
        optimizer.step()
    return model.eval()


def likes(model: UniCtr, items: range) -> np.ndarray:
    with torch.no_grad():
        return model.likes(to_batch(Histories.from_rows([[0]] * len(items))), items).numpy()


def asked(model: UniCtr, items: range) -> list[tuple[Any, list[Any]]]:
    history = to_batch(Histories.from_rows([[0]]))
    return [(history, [model.case(history, item) for item in items])]


def test_opposite_tastes_need_networks_of_their_own() -> None:
    wanted = np.array([loved(item) for item in range(16)])
    chances = likes(learned(FACTS, loved, steps=30), range(16))
    assert ((chances > 0.5) == wanted).all()
    assert np.abs(chances - wanted).mean() < 0.25
    blind = likes(learned(ItemFacts([["all"]] * 24, [None] * 24), loved, steps=5), range(16))
    np.testing.assert_allclose(blind[:8], blind[8:], atol=1e-5)  # the same words, the same answer: half of them are wrong
    assert ((blind > 0.5) == wanted).mean() == 0.5


def test_a_domain_never_seen_is_answered_by_what_all_share() -> None:
    model = learned(FACTS, loud, steps=20, without=["game"])
    assert ((likes(model, range(16, 24)) > 0.5) == np.array([loud(item) for item in range(16, 24)])).all()
    own, general, domains = model.answers_of(asked(model, range(24)))
    assert domains.tolist() == [0] * 8 + [1] * 8 + [-1] * 8
    torch.testing.assert_close(model.odds(asked(model, range(24))), torch.cat([own[:16], general[16:]]))
    torch.testing.assert_close(general[:8], general[16:])  # the general network is told no domain
    assert not torch.allclose(own[:8], own[8:16])


def test_a_question_moves_the_network_of_its_domain_alone() -> None:
    model = learned(FACTS, loved, steps=0)
    own, _, _ = model.answers_of(asked(model, range(8, 10)))
    own.sum().backward()
    moved = [any(one.grad is not None and bool(one.grad.any()) for one in ladder.parameters()) for ladder in model.ladders]
    assert moved == [False, True]
    assert all(one.grad is None for one in model.general.parameters())


def test_what_it_wants(tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match="Uni-CTR needs a decoder-only model"):
        UniCtr(UniCtrConfig.parse({**TINY, "network": {**TINY["network"], "kind": "t5"}}), items=4)
    with pytest.raises(DataError, match="there is no domain `gamme` to leave out; did you mean `game`"):
        UniCtr(UniCtrConfig.parse({**TINY, "without": ["gamme"]}), items=24).read_facts(FACTS)
    rows = [(user, (user + step) % 6, step) for user in range(20) for step in range(5)]
    log = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    titles = pl.DataFrame({"item_id": range(6), "title": list("abcdef")})
    settings = {"training": {"epochs": 1}, "model": TINY}
    with pytest.raises(DataError, match="Uni-CTR divides items by their first category, but the catalogue names none"):
        recsmith.fit("uni-ctr", Dataset.from_frame(log, catalogue=titles), settings=settings)
    kinds = titles.with_columns(genres=pl.Series([["war"], ["love"]] * 3))
    fitted = recsmith.fit("uni-ctr", Dataset.from_frame(log, catalogue=kinds), settings=settings)
    fitted.save(tmp_path / "run")
    loaded = recsmith.load(tmp_path / "run")
    assert loaded.model.domain_of.tolist() == [0, 1] * 3
    assert loaded.recommend(users="all", k=3).equals(fitted.recommend(users="all", k=3))
