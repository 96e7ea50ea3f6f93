"""`SubstringIndex`: the runs of tokens that begin anywhere in the items' texts, for generation that is constrained but free in its start.

What an FM-index does for SEAL, MINDER and TransRec, for catalogues rather than the web: every run is written out as a path of a code
trie, so that the one constrained search serves here too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recsmith.data import ItemCodes
from recsmith.decoding.adapters import CodeTokens
from recsmith.decoding.trie import CodeTrie
from recsmith.protocols import RankedLists

Begins = Callable[[Sequence[int]], Sequence[int]]
"""Places of a text, given as tokens, at which a run may begin."""


@dataclass(frozen=True)
class SubstringIndex:
    """Runs from any of their beginnings to the end of the text, or to the longest length; a run belongs to all items that have it."""

    runs: list[tuple[int, ...]]
    """Tokens of each run, without end."""
    codes: ItemCodes
    """A run as codes, int64 `[run, longest]`; 0 behind the end of a shorter one."""
    tokens: CodeTokens
    """Token of each code; that of code 0 is the end."""
    trie: CodeTrie
    offsets: np.ndarray
    """Run r is in `items[offsets[r]:offsets[r + 1]]`."""
    items: np.ndarray
    of_item: list[list[int]]
    """The runs of each item."""

    @classmethod
    def build(cls, texts: Sequence[Sequence[Sequence[int]]], *, begins: Begins, longest: int, end: int) -> SubstringIndex:
        """`texts`: for each item any number of texts as tokens; raises `ValueError` when none has a token."""
        numbers: dict[tuple[int, ...], int] = {}
        of_item = []
        for rows in texts:
            found = [tuple(row[start : start + longest]) for row in rows for start in begins(row)]
            of_item.append(sorted({numbers.setdefault(run, len(numbers)) for run in found if run}))
        if not numbers:
            raise ValueError("no item has a text, so there are no runs of tokens; leave this index out")
        runs = list(numbers)
        book = sorted({token for run in runs for token in run})
        code = {token: place for place, token in enumerate(book, start=1)}
        table = np.zeros((len(runs), max(map(len, runs))), dtype=np.int64)
        for place, run in enumerate(runs):
            table[place, : len(run)] = [code[token] for token in run]
        codes = ItemCodes(table, (len(book) + 1,) * table.shape[1])
        every = torch.tensor([end, *book])
        pairs = np.array([(run, item) for item, owned in enumerate(of_item) for run in owned], dtype=np.int64)
        pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
        offsets = np.searchsorted(pairs[:, 0], np.arange(len(runs) + 1))
        return cls(runs, codes, CodeTokens((every,) * codes.levels), CodeTrie.build(codes), offsets, pairs[:, 1], of_item)

    def __len__(self) -> int:
        return len(self.runs)

    @property
    def shares(self) -> np.ndarray:
        """How often a run is met among all runs of all items, float64 `[run]`; adds up to 1."""
        return np.diff(self.offsets) / len(self.items)

    def grounded(self, found: RankedLists, *, bias: float, power: float) -> Tensor:
        """Scores of all items by the runs that were generated for each row, float32 `[row, item]`; 0 for items without any.

        An item gets (s + bias) ** power for each of its runs, s being how much likelier the run is here than anywhere: the log odds ratio
        of the probability that `found` gives it and of its share among all runs, where that is above 0 (Bevilacqua et al., 2022).
        """
        row, place = np.nonzero(found.items >= 0)
        run = found.items[row, place]
        value = (log_odds_ratio(found.scores[row, place].astype(np.float64), self.shares[run]) + bias) ** power
        counts = np.diff(self.offsets)[run]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        items = self.items[np.repeat(self.offsets[run], counts) + within]
        scores = np.zeros((len(found.items), len(self.of_item)))
        np.add.at(scores, (np.repeat(row, counts), items), np.repeat(value, counts))
        return torch.from_numpy(scores.astype(np.float32))


def log_odds_ratio(logs: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """max(0, log of p (1 - q) / (q (1 - p))) for log p = `logs` and q = `shares`; p and q are kept off 1."""
    logs, shares = np.minimum(logs, -1e-6), np.minimum(shares, 1 - 1e-6)
    odds = logs - np.log(-np.expm1(logs))
    return np.maximum(0.0, odds - (np.log(shares) - np.log1p(-shares)))
