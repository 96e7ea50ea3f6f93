"""Top-k of inner products over a large catalogue, on a CPU: an 8-bit scan finds the candidates, full precision ranks and proves them.

The products of whole numbers are exact, so the only error of the scan is that of rounding the vectors, and its size is known: by
Cauchy-Schwarz, `|q·v - q̂·v̂| ≤ |q| |v - v̂| + |q - q̂| |v̂|`. An item outside of the candidates scores at most as much as the last
candidate in the scan plus this bound. Where the k-th candidate scores more in full precision, the list is that of all items; rows without
such a proof are scored in full. Codes of inner products for a first, approximate pass: Jégou et al., 2011 (product quantization); one
scale for all vectors and the proof are ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recsmith.decoding.limits import NO_LIMITS, allowed_items, excluded_pairs
from recsmith.decoding.lists import padded_lists, select_top
from recsmith.decoding.masks import Rules, check_size, distinct_rules
from recsmith.decoding.ranking import top_k
from recsmith.decoding.rules import BoundRules
from recsmith.protocols import Limits, RankedLists

SMALLEST = 10_000
"""Items below which a scan gains nothing."""
_LEVELS = 127
_BLOCK = 32
"""Items of a block: the largest of each is found first."""
_ROWS = 32
"""Rows scanned at a time, fewer where there are many items: their products stay in a buffer that is used again."""
_MOST_PRODUCTS = 2**24
_NONE = torch.iinfo(torch.int32).min
_MULTIPLE = 16


class Scan:
    """Searches `queries @ vectors.T + bias`. Holds a second copy of the vectors at a quarter of their size; not for several threads."""

    def __init__(self, vectors: Tensor, bias: Tensor | None = None) -> None:
        """`vectors` float32 `[item, dim]`, `bias` `[item]`; they must not change afterwards."""
        self.vectors = vectors.detach()
        self.bias = None if bias is None else bias.detach()
        items = len(vectors)
        # the bias is one more dimension, in which every query is 1
        full = self.vectors if self.bias is None else torch.cat([self.vectors, self.bias[:, None]], 1)
        self._scale = full.abs().max().clamp(min=1e-30) / _LEVELS
        rounded = (full / self._scale).round()
        self._error = float((full - rounded * self._scale).norm(dim=1).max())
        self._longest = float((rounded * self._scale).norm(dim=1).max())
        padding = (0, -full.shape[1] % _MULTIPLE, 0, -items % _BLOCK)
        self._codes = torch.nn.functional.pad(rounded.to(torch.int8), padding)
        self._rows = max(1, min(_ROWS, _MOST_PRODUCTS // len(self._codes)))
        self._buffer = torch.empty(self._rows * len(self._codes), dtype=torch.int32)
        self.proved = self.scored_in_full = 0
        """Rows that were answered by the scan, and rows that needed all scores."""

    @torch.no_grad()
    def top_k(self, queries: Tensor, k: int, *, limits: Limits = NO_LIMITS, rules: Rules = None) -> RankedLists:
        """What `decoding.top_k` answers to the scores of `queries` `[row, dim]`, up to the rounding of float32 sums.

        Raises as `decoding.top_k` does.
        """
        sets, which = distinct_rules(rules, len(queries))
        simple = all(rule is None or (rule.bonus is None and not rule.shapes_lists) for rule in sets)
        if not simple or 4 * k > len(self.vectors):
            return self._in_full(queries, k, limits, rules)
        pieces = []
        for start in range(0, len(queries), self._rows):
            rows = slice(start, min(start + self._rows, len(queries)))
            some = sets if len(sets) == 1 else [sets[number] for number in which[rows]]
            pieces.append(self._scanned(queries[rows], k, _limits_of(limits, rows), some))
        if len(pieces) == 1:
            return pieces[0]
        items, scores = (np.concatenate([getattr(piece, name) for piece in pieces]) for name in ("items", "scores"))
        return RankedLists(items, scores)

    def scores(self, queries: Tensor) -> Tensor:
        """All scores `[row, item]`."""
        scores = queries @ self.vectors.T
        return scores if self.bias is None else scores + self.bias

    def _in_full(self, queries: Tensor, k: int, limits: Limits, rules: Rules) -> RankedLists:
        self.scored_in_full += len(queries)
        return top_k(self.scores(queries), k, limits=limits, rules=rules)

    def _scanned(self, queries: Tensor, k: int, limits: Limits, sets: list[BoundRules | None]) -> RankedLists:
        whole = queries if self.bias is None else torch.cat([queries, torch.ones_like(queries[:, :1])], 1)
        steps = whole.abs().amax(1, keepdim=True).clamp(min=1e-30) / _LEVELS
        rounded = (whole / steps).round()
        products = self._products(rounded)
        self._mask(products, limits, sets)
        items = self._candidates(products, count=min(max(64, 3 * k), products.shape[1]))
        found = products.gather(1, items)
        exact = torch.einsum("rcd,rd->rc", self.vectors[items.clamp(max=len(self.vectors) - 1)], queries)
        if self.bias is not None:
            exact += self.bias[items.clamp(max=len(self.vectors) - 1)]
        exact = exact.masked_fill_(found == _NONE, -torch.inf)
        ordered, order = exact.sort(dim=1, descending=True, stable=True)
        ordered, items = ordered[:, :k], items.gather(1, order[:, :k])
        lists = padded_lists(items, ordered, k)
        outside = found.amin(1)
        lengths = whole.norm(dim=1)
        errors = lengths * self._error + (whole - rounded * steps).norm(dim=1) * self._longest + 1e-5 * lengths * self._longest
        most = outside * steps[:, 0] * self._scale + errors
        unproved = ~((ordered[:, -1] > most) | (outside == _NONE))
        self.proved += len(queries) - int(unproved.sum())
        if unproved.any():
            rows = unproved.numpy().nonzero()[0]
            kept: Any = sets[0] if len(sets) == 1 else [sets[row] for row in rows]
            again = self._in_full(queries[unproved], k, _limits_of(limits, rows), kept)
            lists.items[rows], lists.scores[rows] = again.items, again.scores
        return lists

    def _products(self, rounded: Tensor) -> Tensor:
        """Products of whole numbers, int32 `[row, padded item]`, in the buffer."""
        rows = len(rounded)
        codes = torch.nn.functional.pad(rounded.to(torch.int8), (0, self._codes.shape[1] - rounded.shape[1]))
        products = self._buffer[: rows * len(self._codes)].view(rows, len(self._codes))
        torch._int_mm(codes, self._codes.T, out=products)
        products[:, len(self.vectors) :] = _NONE
        return products

    def _mask(self, products: Tensor, limits: Limits, sets: list[BoundRules | None]) -> None:
        """Put `_NONE` where an item must not be answered."""
        items = products[:, : len(self.vectors)]
        for number, rule in enumerate(sets):
            if rule is None:
                continue
            check_size(rule, items.shape[1])
            if rule.allowed is not None:
                row = items if len(sets) == 1 else items[number : number + 1]
                row.masked_fill_(torch.from_numpy(~rule.allowed), _NONE)
        if limits.allowed is not None:
            items.masked_fill_(~allowed_items(limits, items.shape[1], items.device), _NONE)
        if limits.exclude is not None:
            products[excluded_pairs(limits.exclude, len(items), items.shape[1], items.device)] = _NONE

    def _candidates(self, products: Tensor, count: int) -> Tensor:
        """Where the largest products are, ascending, int64 `[row, count]`: the blocks with the largest, then the largest of these."""
        rows, width = products.shape
        blocks = width // _BLOCK
        if blocks <= count:
            return select_top(products, count)
        # block b holds the items b, b + blocks, …: neighbours in memory are then compared in step
        largest = products.view(rows, _BLOCK, blocks).amax(1)
        chosen = largest.topk(count, dim=1, sorted=False).indices
        inside = (chosen[:, None, :] + blocks * torch.arange(_BLOCK)[:, None]).view(rows, -1)
        best = products.gather(1, inside).topk(count, dim=1, sorted=False).indices
        return inside.gather(1, best).sort(dim=1).values


def faster_scan(queries: Tensor, vectors: Tensor, bias: Tensor | None, *, k: int = 10, rounds: int = 3) -> Scan | None:
    """A scan where it answers `queries` `[row, dim]` faster than scoring every item; None where it does not, or the catalogue is small."""
    if vectors.device.type != "cpu" or len(vectors) < SMALLEST:
        return None
    scan = Scan(vectors, bias)
    fast = _median(lambda: scan.top_k(queries, k), rounds)
    full = _median(lambda: top_k(scan.scores(queries), k), rounds)
    return scan if fast < full else None


def _median(call: Callable[[], object], rounds: int) -> float:
    """Seconds."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def _limits_of(limits: Limits, rows: slice | np.ndarray) -> Limits:
    """The limits of some rows."""
    if limits.exclude is None:
        return limits
    every = np.arange(len(limits.exclude))
    return limits if len(every[rows]) == len(every) else Limits(limits.exclude.take(every[rows]), limits.allowed)
