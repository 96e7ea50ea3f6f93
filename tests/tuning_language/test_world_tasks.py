"""P5 from scratch on the simulated world: how far each task family gets from a trivial answer to that of who knows the truth."""

from __future__ import annotations

import pytest

pytest.importorskip("transformers")

from world_tasks import gaps, with_summaries

import recsmith
from recsmith.data.world import world

FOUND = {"sequential": 0.45, "direct": 0.05, "rating": 0.18, "explanation": 0.6, "review, stars": 0.65, "review, summary": 0.9}
"""Family → a share of the gap a little below what it reached when this was written (.54, .12, .25, .72, .77, 1.00 after 480 steps, 133 s
of one core). The aim of the issue, .6 for each, is missed by sequential, direct and rating: their losses were still falling."""


@pytest.mark.slow
def test_each_family_finds_what_it_found_before() -> None:
    truth = world(users=300, items=100, events=12_000, seed=0)
    settings = {"training": {"epochs": 160, "validate_every": 80}, "validation_cases": 300}
    fitted = recsmith.fit("p5", with_summaries(truth), settings=settings)
    found = gaps(truth, fitted)
    print("\nP5 on the world:", *found, sep="\n  ")
    assert {gap.family for gap in found} == set(FOUND)
    for gap in found:
        assert gap.share >= FOUND[gap.family], str(gap)
