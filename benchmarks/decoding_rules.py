"""What business rules cost inside the beam search, on catalogues of different sizes.

    python benchmarks/decoding_rules.py [--items 10000 1000000] [--rounds 5]

CPU-sized TIGER, batch 32, 20 beams, lists of 10. The first call with new rules marks the tree; later calls find the marks. CPU seconds of
one thread, the least of the rounds, beside the same search without rules.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

from recsmith.runtime import prepare_environment

prepare_environment()

import numpy as np  # noqa: E402
import polars as pl  # noqa: E402
import torch  # noqa: E402
from beam_search import build, make_batch, make_codes  # noqa: E402

from recsmith.data import Catalogue, Vocabulary  # noqa: E402
from recsmith.decoding import Allow, AtMost, Boost, CodeTrie, InStock, ItemTable, OneOf, PriceRange, beam_search, bind_rules  # noqa: E402
from recsmith.models.tiger import tiger_cpu  # noqa: E402


def shop(items: int) -> ItemTable:
    """Random prices, stock and brands."""
    random = np.random.default_rng(0)
    columns = {
        "item_id": np.arange(items),
        "price": random.integers(1, 50, items).astype(float),
        "stock": random.integers(0, 3, items),
        "brand": random.integers(0, 200, items).astype(str),
    }
    return ItemTable(Vocabulary(range(items)), Catalogue(pl.DataFrame(columns)))


def least(call: Callable[[], object], rounds: int) -> float:
    """CPU seconds of the fastest round."""
    values = []
    for _ in range(rounds):
        begin = time.process_time()
        call()
        values.append(time.process_time() - begin)
    return min(values)


def measure(items: int, rounds: int) -> None:
    """One catalogue."""
    generator = np.random.default_rng(0)
    codes, table = make_codes(generator, items), shop(items)
    model, trie, (batch, _) = build(tiger_cpu(), codes), CodeTrie.build(codes), make_batch(generator, 32, items)
    allow = Allow(InStock() & PriceRange(high=25))
    kinds: dict[str, list[Any]] = {
        "allow": [allow],
        "allow and boost": [allow, Boost(OneOf("brand", ["7"]), factor=3)],
        "allow and at most 2 per brand": [allow, AtMost(2, "brand")],
    }
    plain = least(lambda: beam_search(model, batch, trie, 10, beams=20), rounds)
    print(f"{items:,} items: no rules {plain * 1e3:.1f} ms")
    for name, rules in kinds.items():
        binding = least(lambda: bind_rules(rules, table), rounds)  # noqa: B023
        first = least(lambda: beam_search(model, batch, trie, 10, beams=20, rules=bind_rules(rules, table)), 2) - binding  # noqa: B023
        bound = bind_rules(rules, table)
        beam_search(model, batch, trie, 10, beams=20, rules=bound)
        later = least(lambda: beam_search(model, batch, trie, 10, beams=20, rules=bound), rounds)  # noqa: B023
        print(
            f"  {name:30s} binding {binding * 1e3:6.1f} ms, first {first * 1e3:6.1f} ms, later {later * 1e3:6.1f} ms, {later / plain:.2f} x"
        )


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with torch.inference_mode():
        for items in arguments.items:
            measure(items, arguments.rounds)


if __name__ == "__main__":
    main()
