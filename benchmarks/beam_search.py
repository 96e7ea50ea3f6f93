"""Constrained beam search: ours against `transformers`' generate on the same weights, side by side in one run.

    python benchmarks/beam_search.py [--rounds 5] [--threads 2]

TIGER's size (4.6 M parameters), 10,000 items of four codes out of 256, histories of 20 items (80 codes and the first token), batch
of 32, 20 beams, fp32. Prints the median seconds of both, their ratio, and for how many users the two lists are equal in order.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from recsmith.runtime import prepare_environment

prepare_environment()

import numpy as np  # noqa: E402
import torch  # noqa: E402

from recsmith.data import Histories, ItemCodes  # noqa: E402
from recsmith.decoding import CodeTrie, beam_search  # noqa: E402
from recsmith.models.tiger import Tiger, TigerConfig, tiger_cpu  # noqa: E402
from recsmith.protocols import HistoryBatch, Limits, RankedLists  # noqa: E402
from recsmith.testing.t5 import allowed_tokens, t5_inputs, to_t5  # noqa: E402

ITEMS, SIZES, BATCH, BEAMS, HISTORY = 10_000, (256, 256, 256, 256), 32, 20, 20


def make_codes(generator: np.random.Generator) -> ItemCodes:
    """Random distinct codes: three levels drawn, the fourth counts repeats."""
    table = np.zeros((ITEMS, 4), dtype=np.int64)
    table[:, :3] = generator.integers(0, 256, size=(ITEMS, 3))
    _, group, sizes = np.unique(table[:, :3], axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(group.reshape(-1), kind="stable")
    table[order, 3] = np.arange(ITEMS) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return ItemCodes(table, SIZES)


def make_batch(generator: np.random.Generator, rows: int) -> tuple[HistoryBatch, Histories]:
    """Rows of `HISTORY` random items."""
    histories = Histories.from_rows(list(generator.integers(0, ITEMS, size=(rows, HISTORY))))
    return HistoryBatch(torch.from_numpy(histories.values), torch.from_numpy(histories.offsets)), histories


def seconds(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def build(config: TigerConfig, codes: ItemCodes) -> Tiger:
    """A model with random weights, spread enough that scores of different items differ visibly."""
    torch.manual_seed(0)
    return Tiger(config, codes=codes).eval()


def compare(rounds: int, codes: ItemCodes, generator: np.random.Generator) -> None:
    """Both searches in turns, then the extra row in bf16."""
    model = build(TigerConfig(softmax="vocabulary"), codes)
    t5, trie = to_t5(model), CodeTrie.build(codes)
    batch, _ = make_batch(generator, BATCH)
    ids, mask = t5_inputs(model, batch)
    allowed = allowed_tokens(model)

    def ours() -> RankedLists:
        return beam_search(model, batch, trie, BEAMS, beams=BEAMS, normalise="none")

    def ours_bf16() -> RankedLists:
        with torch.autocast("cpu", torch.bfloat16):
            return ours()

    def theirs() -> torch.Tensor:
        return t5.generate(
            input_ids=ids, attention_mask=mask, num_beams=BEAMS, num_return_sequences=BEAMS, max_new_tokens=4,
            length_penalty=0.0, do_sample=False, prefix_allowed_tokens_fn=allowed,
        )  # fmt: skip

    lists, tokens = ours(), theirs()[:, 1:].view(BATCH, BEAMS, 4)
    equal = (model.item_codes[torch.from_numpy(lists.items)] + model.level_offsets == tokens).all(dim=2).all(dim=1)
    times = {"transformers generate": [], "recsmith": [], "recsmith, bf16": []}
    for _ in range(rounds):
        for name, call in zip(times, (theirs, ours, ours_bf16), strict=True):
            times[name].append(seconds(call))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{parameters / 1e6:.1f} M parameters, {ITEMS:,} items x 4 codes, source {ids.shape[1]} tokens, batch {BATCH}, {BEAMS} beams")
    reference = float(np.median(times["transformers generate"]))
    for name, values in times.items():
        median = float(np.median(values))
        spread = f"{min(values) * 1e3:.0f} to {max(values) * 1e3:.0f}"
        print(f"  {name:24s} {median * 1e3:7.0f} ms ({spread})   {reference / median:4.1f} x")
    print(f"  equal lists, in order: {int(equal.sum())} of {BATCH} users (fp32)")


def one_user(rounds: int, codes: ItemCodes, generator: np.random.Generator) -> None:
    """Latency of one user with the model that two cores train, seen items masked."""
    model, trie = build(tiger_cpu(), codes), CodeTrie.build(codes)
    times = []
    for _ in range(max(20, rounds)):
        batch, histories = make_batch(generator, 1)
        times.append(seconds(lambda: beam_search(model, batch, trie, 10, beams=BEAMS, limits=Limits(exclude=histories))))  # noqa: B023
    print(f"  one user, CPU size, {BEAMS} beams, seen items masked: median {np.median(times[1:]) * 1e3:.1f} ms")


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    generator = np.random.default_rng(0)
    codes = make_codes(generator)
    with torch.inference_mode():
        compare(arguments.rounds, codes, generator)
        one_user(arguments.rounds, codes, generator)


if __name__ == "__main__":
    main()
