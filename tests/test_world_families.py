"""On worlds with one strong motif each family of generators goes at least 60 % of the way from popularity to the oracle.

The default world mixes all motifs and its oracle knows what no log tells (this week's taste, exactly); there models go the shares of
`test_world_truth.py`. Bundles are in `test_world_bundles.py`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

import recsmith
from recsmith.data.world import World, WorldParameters, world
from recsmith.evaluation import evaluate_answer

CALM = {"complement": 0.0, "mood": 0.0, "friend": 0.0, "group_effect": 0.0, "favourite_strength": 6.0}
PLAIN = {"favourites": 1, "taste_noise": 0.0, "kind_spread": 0.0, "era_spread": 0.0}
WORLDS: dict[str, tuple[WorldParameters, dict[str, int]]] = {
    # people like three genres and nothing else happens
    "taste": (
        WorldParameters.parse({**CALM, "next_volume": 0.0, "stay": 0.0, "drift": 0.0, "taste_noise": 0.1}),
        {"users": 1000, "items": 200, "events": 30_000},
    ),
    # the next volume of a series follows the one before it
    "order": (
        WorldParameters.parse({**CALM, **PLAIN, "next_volume": 0.95, "series_share": 0.85, "drift": 0.0}),
        {"users": 2500, "items": 100, "events": 50_000},
    ),
    # everybody's favourite genre fades into another one over the weeks
    "drift": (
        WorldParameters.parse({**CALM, **PLAIN, "next_volume": 0.0, "stay": 0.0, "drift": 1.0}),
        {"users": 2000, "items": 150, "events": 60_000},
    ),
}
FAST = {"model": {"dropout": 0.1}, "training": {"epochs": 30, "learning_rate": 0.006}}
FAMILIES: list[tuple[str, str, str, dict[str, Any]]] = [
    ("auto-encoding", "mult-vae", "taste", {}),
    ("adversarial", "cfgan", "taste", {}),
    ("adversarial", "irgan", "taste", {}),
    ("diffusion", "diffrec", "taste", {}),
    ("diffusion", "codigem", "taste", {}),
    ("auto-regressive", "sasrec", "order", {"training": {"epochs": 30}}),
    ("auto-regressive", "lrurec", "drift", {"training": {"epochs": 30, "learning_rate": 0.003}}),
    ("auto-regressive", "hstu", "order", {"training": {"epochs": 30}, "model": {"dropout": 0.1}}),
    ("diffusion", "dreamrec", "order", {"training": {"epochs": 30}}),
    ("diffusion", "diffurec", "order", {"training": {"epochs": 40, "learning_rate": 0.003}}),
    ("diffusion", "dcrec", "order", {"training": {"epochs": 60}, "model": {"dropout": 0.1}}),
    ("flow", "vaser", "order", FAST),
    ("neural process", "idnp", "order", FAST),
]


@cache
def made(name: str) -> tuple[World, float, float]:
    """A world, and the NDCG@10 of popularity and of the oracle on its test cases."""
    parameters, size = WORLDS[name]
    truth = world(parameters=parameters, seed=0, **size)
    popular = recsmith.fit("popularity", truth.dataset)
    oracle, cases = truth.oracle.aligned(popular.log), popular.split().test
    best = evaluate_answer(oracle.answer, cases, item_count=popular.items, ks=(10,), split="test", protocol={})
    return truth, popular.evaluate("test").metrics["NDCG@10"], best.metrics["NDCG@10"]


@pytest.mark.slow
@pytest.mark.parametrize(("family", "recipe", "motif", "settings"), FAMILIES, ids=[f"{row[1]}-{row[2]}" for row in FAMILIES])
def test_a_family_recovers_what_was_planted(family: str, recipe: str, motif: str, settings: dict[str, Any]) -> None:
    truth, low, high = made(motif)
    found = recsmith.fit(recipe, truth.dataset, settings=settings).evaluate("test").metrics["NDCG@10"]
    share = (found - low) / (high - low)
    figures = f"popularity {low:.4f}, model {found:.4f}, oracle {high:.4f}, {share:.0%} of the gap"
    print(f"\n{family}, {recipe}, {motif}: {figures} (NDCG@10, test)")
    assert share >= 0.6
