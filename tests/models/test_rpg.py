from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsmith.data import Histories, ItemCodes
from recsmith.decoding import BoundRules, Sampled, best_items, top_k
from recsmith.decoding.rules import Cap, Quota
from recsmith.errors import ConfigError
from recsmith.evidence import Judge
from recsmith.models.rpg import Rpg, RpgConfig
from recsmith.protocols import Limits, PartScorer
from recsmith.testing.logs import ITEMS, cycles, full_codes
from recsmith.testing.models import ScoreModelTests
from recsmith.training import to_batch

SMALL = {"dim": 16, "layers": 1, "heads": 2, "hidden": 32, "dropout": 0.0, "attention_dropout": 0.0, "max_history": 8, "init_std": 0.1}


class TestRpg(ScoreModelTests):
    model_class = Rpg
    config = RpgConfig.parse({**SMALL, "temperature": 0.3})
    sequential = True

    def build(self) -> Any:
        return Rpg(self.config, items=ITEMS, codes=full_codes())


def catalogue(items: int = 60, *, seed: int = 0) -> ItemCodes:
    table = np.random.default_rng(seed).integers(0, 6, (items, 5))
    return ItemCodes(np.column_stack([table, np.arange(items) % 8]), (6, 6, 6, 6, 6, 8))


def model(codes: ItemCodes, **settings: object) -> Rpg:
    torch.manual_seed(0)
    rpg = Rpg(RpgConfig.parse({**SMALL, **settings}), items=len(codes), codes=codes)
    torch.nn.init.normal_(rpg.turns, std=0.3)
    return rpg.eval()


def histories() -> Histories:
    return Histories.from_rows([[1, 2, 3], [7], [40, 41, 42, 43], []])


@torch.no_grad()
def test_scores_are_those_of_the_formulas() -> None:
    codes = catalogue()
    rpg = model(codes, temperature=0.2)
    batch = to_batch(histories())
    last = batch.offsets[1:4] - 1
    states = torch.cat([rpg(batch.items, batch.offsets)[last], rpg.start[None]])
    states = rpg.output_norm(states)
    expected = torch.zeros(4, len(codes))
    first = 0
    for level, size in enumerate(codes.sizes):
        vectors = rpg.items.vectors.weight[first : first + size]
        moved = states + torch.nn.functional.silu(states @ rpg.turns[level] + rpg.shifts[level])
        logits = torch.nn.functional.cosine_similarity(moved[:, None], vectors[None], dim=2) / 0.2
        expected += logits.log_softmax(1)[:, codes.table[:, level]]
        first += size
    torch.testing.assert_close(rpg.score(batch), expected, rtol=1e-4, atol=1e-4)


def test_the_loss_is_the_mean_over_positions_and_levels() -> None:
    codes = catalogue()
    rpg = model(codes)
    rows = [[1, 2, 3, 9], [7, 8]]
    pairs = [(row[:place], row[place]) for row in rows for place in range(len(row))]
    scores = rpg.score(to_batch(Histories.from_rows([prefix for prefix, _ in pairs])))
    expected = -np.mean([scores[number, target].item() for number, (_, target) in enumerate(pairs)]) / codes.levels
    assert rpg.loss(to_batch(Histories.from_rows(rows)), 0).item() == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_some_levels_has_the_mean_of_all() -> None:
    codes = catalogue()
    whole, some = model(codes), model(codes, levels_per_step=2)
    batch = to_batch(cycles(users=6))
    assert some.loss(batch, 0).item() == whole.loss(batch, 0).item()  # evaluation takes all levels
    some.train()
    drawn = [some.loss(batch, step).item() for step in range(200)]
    assert len(set(drawn)) > 10
    assert np.mean(drawn) == pytest.approx(whole.loss(batch, 0).item(), rel=0.02)


@torch.no_grad()
def test_a_walk_finds_the_best_items_without_scoring_all() -> None:
    codes = catalogue(400)
    exact, walked = model(codes), model(codes, search="graph", beams=20, edges=10, walk_steps=4)
    batch = to_batch(histories())
    scores, met = exact.score(batch), walked.score(batch)
    found = met > -torch.inf
    torch.testing.assert_close(met[found], scores[found])
    assert found.float().mean() < 0.7
    best = scores.topk(5, 1).indices
    assert found.gather(1, best).float().mean() > 0.8


@torch.no_grad()
def test_with_every_edge_the_walk_is_exact() -> None:
    codes = catalogue()
    batch = to_batch(histories())
    torch.testing.assert_close(model(codes, search="graph", edges=100, beams=3).score(batch), model(codes).score(batch))


WALK = {"search": "graph", "beams": 5, "edges": 5, "walk_steps": 2}


def walking() -> Rpg:
    """Meets about a fifth of 400 items."""
    return model(catalogue(400), **WALK)


WALKING = walking()


@torch.no_grad()
def test_ten_allowed_items_of_400_fill_a_list_of_five_with_the_best() -> None:
    rpg, batch = walking(), to_batch(histories())
    allowed = np.isin(np.arange(400), np.arange(10) * 41)
    met = (rpg.score(batch)[:, allowed] > -torch.inf).sum(dim=1)
    assert (met < 5).all()  # nothing but exact scores can fill these lists
    lists = best_items(rpg, batch, 5, limits=Limits(allowed=allowed))
    exact = top_k(rpg.score_all(batch), 5, limits=Limits(allowed=allowed))
    assert lists.items.tolist() == exact.items.tolist()
    np.testing.assert_allclose(lists.scores, exact.scores, rtol=1e-5)


@torch.no_grad()
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 12), drawn=st.booleans())
def test_walked_lists_are_complete_under_any_limits_and_rules(seed: int, k: int, drawn: bool) -> None:
    random = np.random.default_rng(seed)
    rpg, batch = WALKING, to_batch(histories())
    allowed = random.random(400) < random.choice([0.01, 0.05, 0.5, 1.0])
    exclude = Histories.from_rows([np.flatnonzero(random.random(400) < random.choice([0.0, 0.5, 0.99])).tolist() for _ in range(4)])
    quota, pin = random.random(400) < 0.01, int(random.integers(400))
    brands = Histories.from_rows([[int(brand)] for brand in random.integers(0, 50, 400)])
    own = [None, BoundRules(400, quotas=(Quota(1, quota),), pins={0: pin}), BoundRules(400, caps=(Cap(1, brands),)), None]
    rules = [BoundRules(400) if rule is None else rule for rule in own]
    sampled = Sampled(seed=seed) if drawn else None
    lists = best_items(rpg, batch, k, limits=Limits(exclude=exclude, allowed=allowed), rules=rules, sampled=sampled)
    for row in range(4):
        open_ = allowed.copy()
        open_[exclude.row(row)] = False
        items = lists.items[row][lists.items[row] >= 0]
        assert open_[items].all()
        assert len(set(items.tolist())) == len(items)
        most = len({int(brands.values[item]) for item in np.flatnonzero(open_)}) if row == 2 else int(open_.sum())
        assert len(items) == min(k, most)
    wanted = allowed & quota
    wanted[exclude.row(1)] = False
    pinned = allowed[pin] and pin not in exclude.row(1)
    assert not pinned or lists.items[1, 0] == pin
    assert not wanted.any() or k < 2 or wanted[lists.items[1][lists.items[1] >= 0]].any()


@torch.no_grad()
def test_a_boosted_item_off_the_walk_is_found_and_other_rows_stay_walked() -> None:
    rpg, batch = walking(), to_batch(histories())
    far = int((rpg.score(batch)[0] == -torch.inf).nonzero()[0])
    bonus = np.zeros(400, dtype=np.float32)
    bonus[far] = 500.0
    rules = [BoundRules(400, bonus=bonus), *[BoundRules(400)] * 3]
    lists = best_items(rpg, batch, 3, rules=rules)
    assert lists.items[0, 0] == far
    assert lists.items[1:].tolist() == top_k(rpg.score(batch), 3).items[1:].tolist()


def test_evidence_behind_an_item_off_the_walk_is_a_number() -> None:
    far = int((WALKING.score(to_batch(histories()))[0] == -torch.inf).nonzero()[0])
    scores, ranks = Judge(WALKING, torch.device("cpu"), 400, None)(histories(), -1, far)
    assert np.isfinite(scores).all()
    assert ranks is not None
    assert ranks[0] > 1


def test_only_part_scorers_are_asked_twice() -> None:
    asked = []

    class Whole:
        def score(self, batch: object) -> torch.Tensor:
            asked.append(batch)
            return torch.tensor([[1.0, -torch.inf]])

    assert best_items(Whole(), to_batch(Histories.from_rows([[0]])), 2).items.tolist() == [[0, -1]]
    assert len(asked) == 1
    assert isinstance(walking(), PartScorer)


def test_similar_items_are_those_that_share_codes() -> None:
    table = np.array([[0, 0, 0], [0, 0, 1], [5, 5, 2], [5, 5, 3]])
    rpg = model(ItemCodes(table, (6, 6, 8)), edges=1)
    assert rpg.similar_items()[:, 0].tolist() == [1, 0, 3, 2]


def test_the_graph_is_made_anew_after_training() -> None:
    rpg = model(catalogue(), search="graph")
    rpg.score(to_batch(histories()))
    assert rpg._graph is not None
    assert rpg.train()._graph is None


def test_heads_that_do_not_divide_are_a_mistake_of_the_user() -> None:
    with pytest.raises(ConfigError, match="`dim` = 10 must be a multiple of `heads` = 4"):
        RpgConfig.parse({"dim": 10})
