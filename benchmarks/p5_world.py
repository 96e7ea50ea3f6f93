"""P5 from scratch on simulated worlds: each task family between a trivial answer and the oracle, and what the log can tell at all.

    python benchmarks/p5_world.py                      # a world whose tastes a log of 30 events a person can tell
    python benchmarks/p5_world.py --world default      # the default world at toy size
    python benchmarks/p5_world.py --ceilings           # only the second part, seconds

The oracle knows tastes that nobody can read off a log where people take few items out of many clusters, drift, and follow friends. So
two plain estimators on the same training events stand beside the model: lists from the person alone by a logistic factorisation (the best
of its steps on the test cases, so an upper bound of its kind), and stars by ridge regression on the item and on how often the person took
its genre.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from recsmith.runtime import prepare_environment

prepare_environment()
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "tuning_language"))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from world_tasks import LEARNABLE, _direct, _rating, gaps, with_summaries  # noqa: E402

import recsmith  # noqa: E402
from recsmith.data.world import World, world  # noqa: E402
from recsmith.recommender import Recommender  # noqa: E402


class Factors(torch.nn.Module):
    """Lists from the person alone, and stars by item and genre: answers as P5 does where `world_tasks` asks."""

    answers = "scores"

    def __init__(self, truth: World, known: Recommender) -> None:
        super().__init__()
        train = known.split().train
        assert train.weights is not None
        genre = truth.oracle.process.shelf.genre[truth.oracle.aligned(known.log).items]
        self.counts = torch.zeros(len(known.log.users), known.items)
        self.counts.index_put_((torch.tensor(train.rows), torch.tensor(train.values)), torch.ones(len(train.values)), accumulate=True)
        self.by_genre = np.zeros((len(known.log.users), int(genre.max()) + 1))
        np.add.at(self.by_genre, (train.rows, genre[train.values]), 1)
        self.genre, self.mean = genre, float(train.weights.mean())
        features = self._features(train.rows, train.values, own=1)
        penalty = 3 * np.eye(features.shape[1])
        self.weights = np.linalg.solve(features.T @ features + penalty, features.T @ (train.weights - self.mean))
        self.people = torch.nn.Parameter(0.05 * torch.randn(len(self.counts), 16))
        self.things = torch.nn.Parameter(0.05 * torch.randn(known.items, 16))
        self.bias = torch.nn.Parameter(torch.zeros(known.items))
        self.steps = torch.optim.AdamW(self.parameters(), lr=0.02, weight_decay=0.02)

    def descend(self, steps: int) -> None:
        """Some more steps over all events."""
        for _ in range(steps):
            self.steps.zero_grad()
            (-(self.counts * (self.people @ self.things.T + self.bias).log_softmax(1)).sum() / self.counts.sum()).backward()
            self.steps.step()

    def answering(self, family: str) -> Factors:
        """Itself."""
        return self

    @torch.no_grad()
    def score(self, batch: Any) -> torch.Tensor:
        """Inner products of people and items."""
        return self.people[batch.users] @ self.things.T + self.bias

    def rate(self, batch: Any, items: list[int]) -> torch.Tensor:
        """Stars by ridge regression."""
        features = self._features(batch.users.numpy(), np.array(items), own=0)
        return torch.from_numpy(self.mean + features @ self.weights)

    def _features(self, users: np.ndarray, items: np.ndarray, *, own: int) -> np.ndarray:
        taken, total = self.by_genre[users, self.genre[items]] - own, self.by_genre[users].sum(1)
        return np.column_stack([np.eye(len(self.genre))[items], np.log((taken + 0.5) / (total + 10)), taken == 0, taken / total])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", choices=["learnable", "default"], default="learnable")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--ceilings", action="store_true")
    arguments = parser.parse_args()
    learnable = arguments.world == "learnable"
    truth = world(800, 300, 24_000, parameters=LEARNABLE) if learnable else world(300, 100, 12_000)
    known = recsmith.fit("popularity", truth.dataset)
    print(f"{arguments.world} world; what its log can tell:")
    ceilings(truth, known)
    if arguments.ceilings:
        return
    settings: dict[str, Any] = {"training": {"epochs": arguments.epochs, "validate_every": arguments.epochs}, "validation_cases": 100}
    settings |= {"tokenizer": {"name": "categories"}} if learnable else {}
    started = time.process_time()
    fitted = recsmith.fit("p5", with_summaries(truth), settings=settings)
    print(f"P5 after {fitted.card['training']['steps']} steps, {time.process_time() - started:.0f} processor seconds:", flush=True)
    for gap in gaps(truth, fitted):
        print("  ", gap, flush=True)


def ceilings(truth: World, known: Recommender) -> None:
    """The two estimators, by the same measures."""
    torch.manual_seed(0)
    model = Factors(truth, known)
    lists = []
    for _ in range(10):
        model.descend(20)
        lists.append(_direct(truth, replace(known, model=model), known))
    print("  ", max(lists, key=lambda gap: gap.share))
    print("  ", _rating(truth, replace(known, model=model)))


if __name__ == "__main__":
    main()
