"""Cheap guesses of what a beam search will keep, by counting or by a smaller model: they decide how fast it is, not what it finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from recsmith.data import Histories, offsets_of
from recsmith.decoding.trie import CodeTrie
from recsmith.protocols import CodeModel, HistoryBatch

if TYPE_CHECKING:
    import scipy.sparse as sp

Guess = Callable[[int, Tensor, Tensor], Tensor]
"""`guess(level, nodes [batch, n], child [batch, n, c])`: log-probabilities `[batch, n, c]` of going on from nodes to their children."""


class Draft(Protocol):
    """Reads the histories of a batch and then guesses."""

    def read(self, batch: HistoryBatch, trie: CodeTrie) -> Guess:
        """A guess for these rows."""
        ...


@dataclass(frozen=True, eq=False)
class CountDraft:
    """Guesses by what followed the last items of a history in training, smoothed with what is popular."""

    popularity: np.ndarray
    """Training events of each item, `[item]`."""
    followers: sp.csr_array
    """How often the column followed within the window after the row, `[item, item]`."""
    recent: int = 3
    """Last items of a history that are looked at."""
    smoothing: float = 0.1
    """Weight of the whole popularity against one observed succession."""

    @classmethod
    def learn(cls, histories: Histories, items: int, *, window: int = 3, recent: int = 3) -> CountDraft:
        """From training histories; time and memory grow with events × `window`."""
        import scipy.sparse as sp  # here, so that serving starts without it

        counts = sp.csr_array((items, items), dtype=np.float32)
        for gap in range(1, window + 1):
            same = histories.rows[gap:] == histories.rows[:-gap]
            pairs = (histories.values[:-gap][same], histories.values[gap:][same])
            counts = counts + sp.csr_array((np.full(len(pairs[0]), 1.0 / gap, dtype=np.float32), pairs), shape=(items, items))
        return cls(np.bincount(histories.values, minlength=items), sp.csr_array(counts), recent)

    def read(self, batch: HistoryBatch, trie: CodeTrie) -> Guess:
        """Sums of counts below each node, by two look-ups in running totals."""
        device = trie.items.device
        base = torch.from_numpy(self.smoothing * (self.popularity + 1.0) / (self.popularity.sum() + len(self.popularity)))
        total = torch.nn.functional.pad(base.to(device)[trie.items].cumsum(0), (1, 0))
        places, sums = self._following(batch, trie)

        def guess(level: int, nodes: Tensor, child: Tensor) -> Tensor:
            first, end = trie.leaves[level + 1][child], trie.leaves[level + 1][child + 1]
            weight = total[end] - total[first]
            for sign, border in ((1, end), (-1, first)):
                found = torch.searchsorted(places, border.flatten(1))
                weight = weight + sign * sums.gather(1, found).view_as(weight)
            return weight.clamp(min=1e-12).log().float()

        return guess

    def _following(self, batch: HistoryBatch, trie: CodeTrie) -> tuple[Tensor, Tensor]:
        """Leaves that followed, ascending, and the running totals of their counts before each; `[batch, n]` and `[batch, n + 1]`."""
        import scipy.sparse as sp

        device = trie.items.device
        histories = Histories(batch.items.cpu().numpy(), batch.offsets.cpu().numpy())
        latest = histories.where(histories.values >= 0).tail(self.recent)
        shape = (len(latest), len(self.popularity))
        asked = sp.csr_array((np.ones(len(latest.values), dtype=np.float32), latest.values, latest.offsets), shape=shape)
        found = sp.coo_array(asked @ self.followers)
        row, leaf = found.row, trie.leaves_of.cpu().numpy()[found.col]
        order = np.lexsort((leaf, row))
        lengths = np.bincount(row, minlength=len(latest)).astype(np.int64)
        offsets, width = offsets_of(lengths), max(int(lengths.max(initial=0)), 1)
        places, counts = np.full((len(latest), width), len(trie), dtype=np.int64), np.zeros((len(latest), width))
        slot = np.arange(len(row)) - np.repeat(offsets[:-1], lengths)
        places[row[order], slot], counts[row[order], slot] = leaf[order], found.data[order]
        sums = torch.nn.functional.pad(torch.from_numpy(counts).cumsum(1), (1, 0))
        return torch.from_numpy(places).to(device), sums.to(device)


@dataclass(frozen=True, eq=False)
class ModelDraft:
    """Guesses of a smaller model over the same codes."""

    model: CodeModel

    def read(self, batch: HistoryBatch, trie: CodeTrie) -> Guess:
        """Each guess walks the path to its nodes with the model."""

        def guess(level: int, nodes: Tensor, child: Tensor) -> Tensor:
            leaves = trie.leaves[level][nodes]
            state, parents, last = self.model.prefill(batch), None, None
            same = torch.arange(nodes.shape[1], device=nodes.device).expand_as(nodes)
            for depth in range(level + 1):
                logits, state = self.model.step(state, depth, parents, last)
                parents = torch.zeros_like(same) if depth == 0 else same
                last = trie.codes[depth + 1][trie.ancestors(depth + 1, leaves)]
            logs = logits.float().log_softmax(dim=-1).expand(-1, nodes.shape[1], -1)
            return logs.gather(2, trie.codes[level + 1][child])

        return guess
