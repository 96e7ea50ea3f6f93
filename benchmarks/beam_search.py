"""Constrained beam search: ours against `transformers`' generate on the same weights, side by side in one run.

    python benchmarks/beam_search.py [--items 10000 1000000] [--beams 20 100] [--batch 1 32] [--rounds 3] [--threads 1] [--cornac FILE]

TIGER's size (4.6 M parameters), items of four codes out of 256, histories of 20 items (80 codes and the first token). The rivals are
generate with the usual `prefix_allowed_tokens_fn` (a dictionary of prefixes) and generate with a logits processor that looks the
allowed codes up in one vectorised step. Times are CPU seconds of the process, the least of the rounds, so that with one thread other
work on the machine hardly counts; `--wall` prints wall time instead. `--cornac` names `cornac/models/tiger/tiger.py` of an unpacked release
of Cornac (from 3.0 on; Apache 2.0): its search answers one history at a time, so it stands in the rows of batch 1, with random weights
of the same size.

Also printed: for how many users the lists are equal in order, how much of the exact top 10 the packed models share, operations per
second against those of a large product in the same run, the time of answers and of the search alone at each catalogue size, how long
the trie takes to build and what it weighs, and what one user waits for the model that two cores train.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

from recsmith.runtime import prepare_environment

prepare_environment()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from recsmith.config import Config  # noqa: E402
from recsmith.data import Histories, ItemCodes  # noqa: E402
from recsmith.decoding import CodeTrie, beam_search  # noqa: E402
from recsmith.models.tiger import Tiger, TigerConfig, tiger_cpu  # noqa: E402
from recsmith.nn.packed_linear import packed  # noqa: E402
from recsmith.protocols import HistoryBatch, Limits, RankedLists  # noqa: E402
from recsmith.testing.t5 import allowed_tokens, t5_inputs, to_t5  # noqa: E402

SIZES, HISTORY = (256, 256, 256, 256), 20
Clock = Callable[[], float]


def make_codes(generator: np.random.Generator, items: int = 10_000) -> ItemCodes:
    """Random distinct codes: three levels drawn, the fourth counts repeats."""
    table = np.zeros((items, 4), dtype=np.int64)
    table[:, :3] = generator.integers(0, 256, size=(items, 3))
    _, group, sizes = np.unique(table[:, :3], axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(group.reshape(-1), kind="stable")
    table[order, 3] = np.arange(items) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return ItemCodes(table, SIZES)


def make_batch(generator: np.random.Generator, rows: int, items: int = 10_000) -> tuple[HistoryBatch, Histories]:
    """Rows of `HISTORY` random items."""
    histories = Histories.from_rows(list(generator.integers(0, items, size=(rows, HISTORY))))
    return HistoryBatch(torch.from_numpy(histories.values), torch.from_numpy(histories.offsets)), histories


def build(config: TigerConfig, codes: ItemCodes) -> Tiger:
    """A model with random weights, spread enough that scores of different items differ visibly."""
    torch.manual_seed(0)
    return Tiger(config, codes=codes).eval()


class TrieProcessor:
    """What a careful user of `transformers` would write: allowed codes of all hypotheses in one look-up, no Python per row."""

    def __init__(self, model: Tiger, codes: ItemCodes) -> None:
        self.firsts = model.level_offsets
        self.vocabulary = model.embedding.num_embeddings
        self.keys, self.allowed = [], []
        prefix = np.zeros(len(codes), dtype=np.int64)
        for level, size in enumerate(codes.sizes):
            before, here = np.unique(prefix, return_inverse=True)
            following = np.unique(here.reshape(-1) * size + codes.table[:, level])
            self.keys.append(torch.from_numpy(before))
            self.allowed.append(torch.from_numpy(following))
            prefix = prefix * size + codes.table[:, level]
        self.sizes = codes.sizes

    def __call__(self, generated: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        level = generated.shape[1] - 1
        prefix = torch.zeros(len(generated), dtype=torch.int64)
        for above in range(level):
            prefix = prefix * self.sizes[above] + generated[:, above + 1] - self.firsts[above]
        node, size = torch.searchsorted(self.keys[level], prefix), self.sizes[level]
        borders = torch.searchsorted(self.allowed[level], torch.stack([node * size, (node + 1) * size]))
        counts = borders[1] - borders[0]
        row = torch.arange(len(counts)).repeat_interleave(counts)
        place = torch.arange(int(counts.sum())) + (borders[0] - counts.cumsum(0) + counts).repeat_interleave(counts)
        masked = torch.full_like(scores, -torch.inf)
        token = self.allowed[level][place] % size + self.firsts[level]
        masked[row, token] = scores[row, token]
        return masked


def least(call: Callable[[], Any], rounds: int, clock: Clock) -> float:
    """Seconds of the fastest of some rounds."""
    values = []
    for _ in range(rounds):
        begin = clock()
        call()
        values.append(clock() - begin)
    return min(values)


def least_of_all(calls: dict[str, Callable[[], Any]], rounds: int, clock: Clock) -> dict[str, float]:
    """Seconds of the fastest round of each call, taken in turns; ours, which are short, three times as often."""
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name, call in calls.items():
            best[name] = min(best.get(name, np.inf), least(call, 3 if "recsmith" in name else 1, clock))
    return best


def cornac_search(file: Path, model: Tiger, codes: ItemCodes, ids: torch.Tensor, beams: int) -> Callable[[], Any]:
    """Cornac's constrained search for the one history of `ids` `[1, token]`, as its own `score` calls it."""
    spec = importlib.util.spec_from_file_location("cornac_tiger", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = model.config
    stacks = {"num_enc_layers": config.encoder_layers, "num_dec_layers": config.decoder_layers, "num_heads": config.heads}
    theirs = module.TIGERSeq2Seq(codes.sizes, config.dim, config.ff_dim, d_kv=config.head_dim, dropout=config.dropout, **stacks).eval()
    children: list[dict[tuple[int, ...], Any]] = [{} for _ in codes.sizes]
    for row in codes.table.tolist():
        for level, code in enumerate(row):
            children[level].setdefault(tuple(row[:level]), set()).add(code)
    following = [{prefix: np.array(sorted(found)) for prefix, found in level.items()} for level in children]
    tokens = ids[:, 1:] - 1
    return lambda: theirs.generate_beam(tokens, torch.ones(tokens.shape), beams, following)


def compare(items: int, beams: int, rows: int, rounds: int, clock: Clock, peak: float, *, cornac: Path | None) -> None:
    """All searches on one setting."""
    generator = np.random.default_rng(0)
    codes = make_codes(generator, items)
    model = build(TigerConfig(softmax="vocabulary"), codes)
    trie, t5 = CodeTrie.build(codes), to_t5(model)
    batch, _ = make_batch(generator, rows, items)
    ids, mask = t5_inputs(model, batch)
    processor = TrieProcessor(model, codes)
    fp32, bf16 = packed(model, "fp32"), packed(model, "bf16")

    def ours(own: Tiger) -> RankedLists:
        return beam_search(own, batch, trie, beams, beams=beams, normalise="none")

    def generate(**how: Any) -> torch.Tensor:
        return t5.generate(
            input_ids=ids, attention_mask=mask, num_beams=beams, num_return_sequences=beams, max_new_tokens=4, length_penalty=0.0,
            do_sample=False, **how,
        )  # fmt: skip

    with FlopCounterMode(display=False) as flops:
        exact = ours(model)
    calls: dict[str, Callable[[], Any]] = {}
    if items <= 100_000:
        allowed = allowed_tokens(model)
        calls["generate, prefix_allowed_tokens_fn"] = lambda: generate(prefix_allowed_tokens_fn=allowed)
    calls["generate, vectorised trie"] = lambda: generate(logits_processor=[processor])
    if cornac is not None and rows == 1 and items <= 100_000:
        calls["Cornac, generate_beam"] = cornac_search(cornac, model, codes, ids, beams)
    calls |= {"recsmith": lambda: ours(model), "recsmith, packed": lambda: ours(fp32), "recsmith, packed bf16": lambda: ours(bf16)}
    tokens = generate(logits_processor=[processor])[:, 1:].view(rows, beams, 4)
    equal = (model.item_codes[torch.from_numpy(exact.items)] + model.level_offsets == tokens).all(dim=2).all(dim=1)
    times = least_of_all(calls, rounds, clock)
    print(f"{items:,} items, batch {rows}, {beams} beams; {flops.get_total_flops() / 1e9:.1f} GFLOP")
    first, vectorised = next(iter(times.values())), times["generate, vectorised trie"]
    for name, value in times.items():
        share = f"{flops.get_total_flops() / value / peak:5.0%} of the fp32 peak" if "recsmith" in name else ""
        print(f"  {name:36s} {value * 1e3:8.1f} ms  {first / value:5.1f} x  {vectorised / value:5.1f} x  {share}")
    print(f"  equal lists, in order: {int(equal.sum())} of {rows}")
    print(f"  of the exact top 10 is held: packed {same(ours(fp32), exact)}, packed bf16 {same(ours(bf16), exact)}")


def same(lists: RankedLists, exact: RankedLists) -> str:
    """Share of the exact top 10 that the other top 10 holds."""
    shares = [len(set(one[:10]) & set(other[:10])) / 10 for one, other in zip(lists.items, exact.items, strict=True)]
    return f"{np.mean(shares):.4f}"


class Answers:
    """A model whose answers cost nothing: what is left is the search."""

    Config: ClassVar[type[Config]] = Config
    answers: ClassVar[Literal["codes"]] = "codes"
    learns: ClassVar[Literal["gradient"]] = "gradient"
    config = Config()

    def __init__(self, rows: int, beams: int) -> None:
        self.logits = [torch.randn(rows, 1 if level == 0 else beams, 256).log_softmax(-1) for level in range(4)]

    def prefill(self, batch: HistoryBatch) -> None:
        return None

    def step(self, state: None, level: int, parents: Any, last: Any) -> tuple[torch.Tensor, None]:
        return self.logits[level], None


def catalogue_sizes(sizes: list[int], rounds: int, clock: Clock) -> None:
    """Trie building, and whole answers of batch 32 with 20 beams, at each size."""
    generator = np.random.default_rng(0)
    batch, first = make_batch(generator, 32, min(sizes))[0], 0.0
    for items in sizes:
        codes = make_codes(generator, items)
        begin = clock()
        trie = CodeTrie.build(codes)
        built = clock() - begin
        tensors = [trie.items, trie.leaves_of, *trie.codes, *trie.children, *trie.leaves]
        megabytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 1e6
        model = packed(build(tiger_cpu(), codes), "fp32")
        whole = least(lambda: beam_search(model, batch, trie, 20, beams=20), rounds + 2, clock)  # noqa: B023
        search = least(lambda: beam_search(Answers(32, 20), batch, trie, 20, beams=20, normalise="none"), rounds + 5, clock)  # noqa: B023
        first = first or whole
        print(
            f"{items:>9,} items: trie {built:.2f} s, {megabytes:.0f} MB; batch 32, 20 beams, CPU-sized model {whole * 1e3:.1f} ms, "
            f"of which the search {search * 1e3:.1f} ms; {whole / first:.2f} x the time of the first catalogue"
        )


def people_waiting(clock: Clock) -> None:
    """The CPU-sized model: one user, and batches of 64."""
    generator = np.random.default_rng(0)
    codes = make_codes(generator)
    trie = CodeTrie.build(codes)
    model = build(tiger_cpu(), codes)
    for name, own in (("as trained", model), ("packed fp32", packed(model, "fp32")), ("packed bf16", packed(model, "bf16"))):
        times = []
        for _ in range(60):
            batch, histories = make_batch(generator, 1)
            limits = Limits(exclude=histories)
            times.append(least(lambda: beam_search(own, batch, trie, 10, beams=20, limits=limits), 1, clock))  # noqa: B023
        batch, histories = make_batch(generator, 64)
        limits = Limits(exclude=histories)
        whole = least(lambda: beam_search(own, batch, trie, 10, beams=20, limits=limits), 5, clock)  # noqa: B023
        middle, high = np.quantile(times[5:], [0.5, 0.99]) * 1e3
        print(f"  CPU size, 20 beams, {name:12s} one user: p50 {middle:5.1f} ms, p99 {high:5.1f} ms; batch 64: {64 / whole:5.0f} users/s")


def peak_rate(clock: Clock) -> float:
    """Operations per second of a large fp32 product."""
    one, other = torch.randn(2048, 1024), torch.randn(1024, 2048)
    return 2 * 2048 * 1024 * 2048 / least(lambda: one @ other, 10, clock)


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--beams", type=int, nargs="+", default=[20, 100])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cornac", type=Path, help="cornac/models/tiger/tiger.py of a release of Cornac")
    parser.add_argument("--wall", action="store_true", help="wall time instead of CPU time; for a machine that is idle otherwise")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    clock = time.perf_counter if arguments.wall else time.process_time
    with torch.inference_mode():
        peak = peak_rate(clock)
        kind = "wall" if arguments.wall else "CPU"
        print(f"{arguments.threads} threads, {kind} time; a large fp32 product reaches {peak / 1e9:.0f} GFLOP/s")
        people_waiting(clock)
        catalogue_sizes(arguments.items, arguments.rounds, clock)
        for rows in arguments.batch:
            for beams in arguments.beams:
                compare(arguments.items[0], beams, rows, arguments.rounds, clock, peak, cornac=arguments.cornac)
        for items in arguments.items[1:]:
            compare(items, arguments.beams[0], max(arguments.batch), 1, clock, peak, cornac=None)


if __name__ == "__main__":
    main()
