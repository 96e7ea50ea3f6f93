"""Seconds from a user id to a table of ten titles, in process, for SASRec and the CPU-sized TIGER on a catalogue of 12,000 items.

    python benchmarks/answer_latency.py [--items 12000] [--users 300]

History look-up, masks, search, the answer table and the titles are in the time; loading is not, and nothing is cached between answers.
The weights are untrained: the arithmetic is the same.
"""

from __future__ import annotations

import argparse
import statistics
import time

from recsmith.runtime import prepare_environment

prepare_environment()

import numpy as np  # noqa: E402
import polars as pl  # noqa: E402
import torch  # noqa: E402

from recsmith.building import build_model  # noqa: E402
from recsmith.data import Dataset, ItemCodes, popularity  # noqa: E402
from recsmith.recipe import load_recipe  # noqa: E402
from recsmith.recommender import Recommender  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=12_000)
    parser.add_argument("--users", type=int, default=300)
    arguments = parser.parse_args()
    data = make_data(arguments.items)
    print(f"torch threads: {torch.get_num_threads()}, items: {arguments.items:,}, mean history 9")
    for recipe, beams in (("sasrec", 50), ("tiger", 20)):
        recommender = untrained(recipe, data, beams)
        seconds = time_answers(recommender, arguments.users)
        name = recipe if recipe == "sasrec" else f"{recipe}, beam {beams}"
        middle, high = statistics.median(seconds), float(np.quantile(seconds, 0.99))
        print(f"{name:16s} median {1e3 * middle:7.2f} ms   p99 {1e3 * high:7.2f} ms   {len(seconds)} answers")


def make_data(items: int, users: int = 20_000) -> Dataset:
    """A log with about nine events a person and a titled catalogue."""
    random = np.random.default_rng(0)
    lengths = random.integers(3, 16, users)
    frame = pl.DataFrame({"user_id": np.repeat(np.arange(users), lengths), "item_id": random.integers(0, items, lengths.sum())})
    ids = np.arange(items)
    every = pl.DataFrame({"user_id": np.full(items, users), "item_id": ids})
    catalogue = pl.DataFrame({"item_id": ids, "title": [f"Item number {item}" for item in ids]})
    return Dataset.from_frame(pl.concat([frame, every]), catalogue=catalogue, name="latency")


def untrained(recipe_name: str, data: Dataset, beams: int) -> Recommender:
    recipe = load_recipe(recipe_name, settings={"decoding": {"beams": beams}})
    log = data.log()
    codes = random_codes(len(log.items)) if recipe.tokenizer is not None else None
    torch.manual_seed(0)
    model = build_model(recipe, items=len(log.items), codes=codes).eval()
    counts = popularity(log.histories, len(log.items))
    return Recommender(recipe=recipe, model=model, log=log, popularity=counts, catalogue=data.catalogue, codes=codes)


def random_codes(items: int) -> ItemCodes:
    random = np.random.default_rng(0)
    table = np.unique(random.integers(0, 256, (2 * items, 4)), axis=0)
    return ItemCodes(random.permutation(table)[:items], (256, 256, 256, 256))


def time_answers(recommender: Recommender, users: int) -> list[float]:
    for user in range(20):
        recommender.recommend(users=[user], k=10)
    seconds = []
    for user in range(100, 100 + users):
        started = time.perf_counter()
        table = recommender.recommend(users=[user], k=10)
        titles = recommender.titles(table["item_id"])
        seconds.append(time.perf_counter() - started)
        assert len(titles) == 10
    return seconds


if __name__ == "__main__":
    main()
