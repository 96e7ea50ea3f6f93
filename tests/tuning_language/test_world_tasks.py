"""P5 from scratch on the simulated world: how far each task family gets from a trivial answer to that of who knows the truth."""

from __future__ import annotations

import pytest

pytest.importorskip("transformers")

from world_tasks import LEARNABLE, gaps, with_summaries

import recsmith
from recsmith.data.world import world

FOUND = {"sequential": 0.46, "direct": 0.7, "rating": 0.48, "explanation": 0.68, "review, stars": 0.9, "review, summary": 0.9}
"""Family → a share of the gap a little below what `python benchmarks/p5_world.py --epochs 300` reached (.52, .79, .55, .76, 1.00, 1.00
after 2,100 steps, 18 minutes of one core; with 480 epochs .53, .85, .60, .81, 1.00, 1.00). The aim, .6 each, is missed by sequential."""


@pytest.mark.slow
def test_each_family_finds_what_it_found_before() -> None:
    truth = world(800, 300, 24_000, parameters=LEARNABLE)
    training = {"epochs": 300, "validate_every": 300}
    settings = {"training": training, "validation_cases": 100, "tokenizer": {"name": "categories"}}
    fitted = recsmith.fit("p5", with_summaries(truth), settings=settings)
    found = gaps(truth, fitted)
    print("\nP5 on the world:", *found, sep="\n  ")
    assert {gap.family for gap in found} == set(FOUND)
    for gap in found:
        assert gap.share >= FOUND[gap.family], str(gap)
