"""Peak memory of a fit from start to answers, each in a process of its own: SASRec over a million items, Mult-VAE on ten million events.

    python benchmarks/training_memory.py [--part sasrec|mult-vae] [--seconds 60]

Synthetic logs. Every phase is met: reading, splitting, training (cut off after `--seconds`), validation on 1,000 cases of the full
catalogue, restoring the best weights, and lists for 100 people. SASRec learns by sampled softmax, so a step holds `[token, negative]` and
never `[token, item]`; Mult-VAE streams its users, so a step holds `[batch, item]`. Linux only (peak resident set). Aim: 6 GB each.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from typing import Any

from recsmith.runtime import prepare_environment

prepare_environment()

import numpy as np  # noqa: E402
import polars as pl  # noqa: E402

from recsmith.data import Dataset  # noqa: E402
from recsmith.fitting import fit  # noqa: E402

AIM = 6.0
PARTS: dict[str, dict[str, Any]] = {
    "sasrec": {
        "log": {"users": 20_000, "items": 1_000_000, "events": 100},
        "settings": {"model": {"loss": "sampled-softmax", "negatives": 1024}, "training": {"batch_size": 128, "validate_every": 0.2}},
    },
    "mult-vae": {
        "log": {"users": 100_000, "items": 20_000, "events": 100},
        "settings": {"training": {"batch_size": 256, "validate_every": 0.5}},
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, help="fit this one here; without it both, each in a process of its own")
    parser.add_argument("--seconds", type=float, default=60.0, help="training time of each")
    arguments = parser.parse_args()
    if arguments.part is not None:
        measure(arguments.part, arguments.seconds)
        return
    for part in PARTS:
        subprocess.run([sys.executable, __file__, "--part", part, "--seconds", str(arguments.seconds)], check=True)


def measure(part: str, seconds: float) -> None:
    sizes = PARTS[part]["log"]
    started, base = time.perf_counter(), peak()
    data = Dataset.from_frame(random_log(**sizes), name="synthetic")
    settings = PARTS[part]["settings"]
    training = {**settings["training"], "minutes": seconds / 60, "patience": None}
    recommender = fit(part, data, settings={**settings, "training": training, "validation_cases": 1_000})
    fitted = peak()
    answered = recommender.recommend(users=list(range(100)), k=10)
    done = recommender.card["training"]
    dense = sizes["users"] * sizes["items"] * 4 / 1e9
    print(
        f"{part}: {sizes['users'] * sizes['events'] / 1e6:.0f} M events, {sizes['users']:,} people x {sizes['items']:,} items "
        f"(dense: {dense:,.0f} GB), {recommender.card['parameters'] / 1e6:.1f} M parameters; {done['steps']} steps, "
        f"{len(answered)} lines answered; peak {fitted:.2f} GB in the fit, {peak():.2f} GB in all, {base:.2f} GB of it the libraries "
        f"({'within' if peak() < AIM else 'ABOVE'} {AIM:.0f} GB); {time.perf_counter() - started:.0f} s"
    )


def random_log(*, users: int, items: int, events: int) -> pl.DataFrame:
    """Everybody has `events` events; every item occurs, popular ones more often."""
    random = np.random.default_rng(0)
    chosen = (items * random.random(users * events) ** 2).astype(np.int64)
    chosen[random.permutation(len(chosen))[:items]] = np.arange(items)
    return pl.DataFrame({"user_id": np.repeat(np.arange(users), events), "item_id": chosen, "timestamp": np.tile(np.arange(events), users)})


def peak() -> float:
    """Highest resident set of this process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    main()
