"""A better response asked for gives slates that are clicked more often: on planted pages, and in the simulated world."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

import recsmith
from recsmith.data import Dataset, Histories
from recsmith.data.world import WorldParameters, world
from recsmith.decoding import fill_slates
from recsmith.evaluation.slates import evaluate_slates, world_response
from recsmith.models import MODELS
from recsmith.protocols import Answer
from recsmith.training import to_batch

USERS, ITEMS, PAGES, SIZE = 32, 8, 6, 3
SMALL = {"slate": SIZE, "gap": 0, "dim": 16, "hidden": 24, "latent": 4, "dropout": 0.0, "init_std": 0.1, "annealing_steps": 50}


def pages() -> Histories:
    """User u is shown random pages and clicks the items of the parity of u, and no others."""
    random = np.random.default_rng(0)
    items = np.stack([random.permutation(ITEMS)[:SIZE] for _ in range(USERS * PAGES)]).reshape(USERS, PAGES * SIZE)
    clicks = (items % 2 == np.arange(USERS)[:, None] % 2).astype(np.float32)
    times = np.tile(np.repeat(np.arange(PAGES), SIZE), USERS).astype(np.float64)
    return Histories(items.reshape(-1), np.arange(USERS + 1) * PAGES * SIZE, times, clicks.reshape(-1))


@pytest.mark.parametrize("name", ["list-cvae", "pivot-cvae"])
def test_clicks_follow_what_is_wanted(name: str) -> None:
    torch.manual_seed(0)
    make, batch = MODELS.get(name), to_batch(pages())
    model: Any = make(make.Config.parse(SMALL), items=ITEMS)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(120):
        optimizer.zero_grad()
        model.loss(batch, step).backward()
        optimizer.step()
    model.eval()
    clicks = [(fill_slates(model, batch, SIZE, wanted=wanted).items % 2 == np.arange(USERS)[:, None] % 2).mean() for wanted in (0.0, 1.0)]
    assert clicks[0] < 0.2
    assert clicks[1] > 0.8


@pytest.mark.slow
def test_better_responses_and_learned_rewards_give_more_clicks_in_the_world() -> None:
    parameters = WorldParameters(slates_per_user=40, logging_tilt=0.3, logging_boost=0.0)
    made = world(users=300, items=60, events=3600, parameters=parameters)
    log = made.slates.sort("slate_id", "position").rename({"response": "rating"}).select("user_id", "item_id", "timestamp", "rating")
    data = Dataset.from_frame(log, name="pages")
    settings = {
        "split": {"name": "next-basket"},  # the last page of everybody is asked for, and works may be shown again
        "model": {"gap": 0, "dim": 32, "hidden": 64},
        "training": {"epochs": 8, "batch_size": 8, "learning_rate": 0.005, "max_history": 200, "patience": None, "validate_every": 8},
    }
    response = world_response(made.oracle.aligned(data.log()))

    def clicks(recommender: recsmith.Recommender, answer: Answer) -> float:
        cases = recommender.split().test
        measured = evaluate_slates(answer, cases, response, size=5, split="test", protocol={}, response_name="world")
        return measured.metrics["Clicks@5"]

    popular = recsmith.fit("popularity", data, settings={"split": settings["split"]})
    least = clicks(popular, popular.answer)
    listed = recsmith.fit("list-cvae", data, settings=settings | {"model": {**settings["model"], "annealing_steps": 100}})
    found = [clicks(listed, partial(listed.answer_slates, wanted=wanted)) for wanted in (0.0, 1.0)]
    user = {**settings["model"], "negatives": 0, "pretraining_steps": 150, "discount": 0.0}
    adversarial = recsmith.fit("adversarial-user-model", data, settings=settings | {"model": user})
    paged = clicks(adversarial, adversarial.answer_slates)
    print(f"\nexpected clicks: popularity {least:.3f}, List-CVAE {found[0]:.3f} → {found[1]:.3f}, adversarial user model {paged:.3f}")
    assert found[1] > found[0] + 0.05
    assert found[1] > least + 0.05
    assert paged > least + 0.02
