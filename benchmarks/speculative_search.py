"""Speculative beam search: what a draft is worth, in acceptance and in time.

    python benchmarks/speculative_search.py [--run RUNS/TIGER] [--users 64] [--layers 8 --dim 512]

Two questions. Acceptance: with a trained TIGER (`--run`, a folder that `recsmith run tiger` wrote), how often does a draft that only counts
(what followed the last three items, and popularity) cover all prefixes that the model keeps, at 10 and 20 beams and several margins; how
many passes a row needs, and what a tolerant search loses. Time: a Llama with random weights checks guesses in one pass; the draft is
either the best there can be (it knows what the search keeps) or the worst (it guesses anything else), and the truth lies between, by
the acceptance. CPU seconds of one thread, the least of the rounds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from recsmith.runtime import prepare_environment

prepare_environment()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from recsmith.data import Histories, ItemCodes  # noqa: E402
from recsmith.decoding import CodeTrie, CountDraft, beam_search, compare_lists, speculative_search  # noqa: E402
from recsmith.decoding.adapters import CausalCodes, CodeTokens, code_prompt  # noqa: E402
from recsmith.decoding.beam import Best  # noqa: E402
from recsmith.decoding.expansion import Beams, Expansion  # noqa: E402
from recsmith.errors import import_extra  # noqa: E402
from recsmith.protocols import HistoryBatch  # noqa: E402
from recsmith.recommender import load  # noqa: E402
from recsmith.training import to_batch  # noqa: E402


@dataclass(frozen=True)
class Recorded(Best):
    """Plain beam search that writes down what it keeps at each level."""

    kept: list[Tensor] = field(default_factory=list)

    def select(self, beams: Beams, expansion: Expansion, width: int, k: int | None) -> tuple[Beams, Tensor]:
        answer = super().select(beams, expansion, width, k)
        self.kept.append(answer[0].nodes)
        return answer


@dataclass(frozen=True)
class Oracle:
    """A draft that knows what a search keeps, or with `honest=False` guesses anything else."""

    kept: list[Tensor]
    honest: bool

    def read(self, batch: HistoryBatch, trie: CodeTrie) -> Callable[[int, Tensor, Tensor], Tensor]:
        def guess(level: int, nodes: Tensor, child: Tensor) -> Tensor:
            own = self.kept[level][: len(child)].contiguous()
            flat = child.flatten(1).contiguous()
            place = torch.searchsorted(own, flat).clamp_(max=own.shape[1] - 1)
            likely = (own.gather(1, place) == flat).view_as(child).float() * 20.0
            return likely if self.honest else -likely

        return guess


def acceptance(folder: str, users: int) -> None:
    """The counting draft against a trained model, on its test users."""
    recommender = load(folder)
    cases = recommender.split().test
    rows = np.random.default_rng(0).choice(len(cases), min(users, len(cases)), replace=False)
    batch, trie = to_batch(cases.take(rows).histories), recommender.trie
    draft = CountDraft.learn(recommender.split().train, recommender.items)
    model: Any = recommender.model
    print(f"{folder}: {recommender.items:,} items, {len(rows)} test users")
    for beams in (10, 20):
        exact = beam_search(model, batch, trie, 10, beams=beams)
        for margin, tolerance in ((2.0, 0.0), (5.0, 0.0), (10.0, 0.0), (5.0, 0.25), (5.0, 0.5)):
            lists, figures = speculative_search(model, batch, trie, 10, draft=draft, beams=beams, margin=margin, tolerance=tolerance)
            print(
                f"  {beams} beams, margin {margin:4.1f}, tolerance {tolerance:.2f}: levels accepted {figures.accepted:5.1%}, passes "
                f"{figures.passes:.2f} of {figures.plain_passes}, items of the plain top 10 held {compare_lists(lists, exact):.3f}"
            )


def times(layers: int, dim: int, rounds: int) -> None:
    """A language-model-sized generator: plain, with perfect guesses, with useless ones."""
    transformers = import_extra("transformers", extra="text", purpose="this benchmark")
    random, sizes = np.random.default_rng(0), (256, 256, 256, 256)
    table = np.unique(random.integers(0, 256, (20_000, 4)), axis=0)[:10_000]
    codes = ItemCodes(random.permutation(table).astype(np.int64), sizes)
    config = transformers.LlamaConfig(
        vocab_size=1030, hidden_size=dim, intermediate_size=4 * dim, num_hidden_layers=layers, num_attention_heads=8, num_key_value_heads=8
    )
    torch.manual_seed(0)
    tokens = CodeTokens.after(2, codes)
    model = CausalCodes(transformers.LlamaForCausalLM(config), codes, tokens, prompt=code_prompt(codes, tokens, begin=1)).eval()
    trie = CodeTrie.build(codes)
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    print(f"Llama of {millions:.0f} M parameters, 10,000 items, histories of 10, 20 beams")
    for rows in (1, 8):
        histories = Histories.from_rows(list(random.integers(0, len(codes), (rows, 10))))
        batch = to_batch(histories)
        recorded = Recorded()
        beam_search(model, batch, trie, 20, beams=20, selection=recorded)
        plain = least(lambda: beam_search(model, batch, trie, 20, beams=20), rounds)  # noqa: B023
        print(f"  batch {rows}: plain {plain * 1e3:.0f} ms")
        for name, honest in (("knows what will be kept", True), ("guesses anything else", False)):
            draft = Oracle(recorded.kept, honest)
            _, figures = speculative_search(model, batch, trie, 20, draft=draft, beams=20, margin=1.5)
            seconds = least(lambda: speculative_search(model, batch, trie, 20, draft=draft, beams=20, margin=1.5), rounds)  # noqa: B023
            shown = f"levels accepted {figures.accepted:.0%}, passes {figures.passes:.2f} of {figures.plain_passes}"
            print(f"    draft that {name}: {seconds * 1e3:.0f} ms, {plain / seconds:.2f} x ({shown})")


def least(call: Callable[[], object], rounds: int) -> float:
    """CPU seconds of the fastest round."""
    values = []
    for _ in range(rounds):
        begin = time.process_time()
        call()
        values.append(time.process_time() - begin)
    return min(values)


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", help="a trained TIGER; leave it out to print times only")
    parser.add_argument("--users", type=int, default=64)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with torch.inference_mode():
        if arguments.run:
            acceptance(arguments.run, arguments.users)
        times(arguments.layers, arguments.dim, arguments.rounds)


if __name__ == "__main__":
    main()
